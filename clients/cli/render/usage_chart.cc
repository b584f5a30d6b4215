#include "clients/cli/render/usage_chart.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include <fmt/format.h>

#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

using api::v1::UsagePoint;

constexpr double kUnknown = -1;
constexpr size_t kIntervalSeconds = 10;
// Blanks, labels and values beside the two lines.
constexpr int kOtherCells = 48;
constexpr int kLeastCells = 10;
constexpr int kMostCells = 80;

struct Span {
  int64_t first = 0;
  int64_t last = 0;
};

Span SpanOf(const std::vector<JobUsage>& jobs) {
  Span span;
  for (const JobUsage& job : jobs) {
    for (const UsagePoint& point : job.metrics.points()) {
      const int64_t time = point.time().seconds();
      if (span.first == 0 || time < span.first) span.first = time;
      span.last = std::max(span.last, time);
    }
  }
  return span;
}

// Averages of a value over the cells of the time axis.
std::vector<double> Cells(const JobUsage& job,
                          const Span& span,
                          size_t count,
                          const std::function<double(const UsagePoint&)>& value_of) {
  std::vector<double> sums(count, 0);
  std::vector<int> counts(count, 0);
  const int64_t length = std::max<int64_t>(1, span.last - span.first);
  for (const UsagePoint& point : job.metrics.points()) {
    const double value = value_of(point);
    if (value < 0) continue;
    const auto place = static_cast<size_t>(point.time().seconds() - span.first) * (count - 1) /
                       static_cast<size_t>(length);
    sums[place] += value;
    ++counts[place];
  }
  // A point stands for its interval: where cells are shorter, those after it show it too.
  const size_t held = count * kIntervalSeconds / static_cast<size_t>(length);
  size_t since_known = held + 1;
  for (size_t i = 0; i < count; ++i) {
    const bool is_known = counts[i] > 0;
    since_known = is_known ? 0 : since_known + 1;
    const double before = i > 0 && since_known <= held ? sums[i - 1] : kUnknown;
    sums[i] = is_known ? sums[i] / counts[i] : before;
  }
  return sums;
}

Style LoadStyle(double ratio) {
  if (ratio > 0.97) return Style::kFailed;
  if (ratio > 0.9) return Style::kNotice;
  return ratio > 0.5 ? Style::kChanging : Style::kPlain;
}

Style GpuStyle(double ratio) { return ratio < 0.25 ? Style::kSecondary : Style::kSuccess; }

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

class Chart {
 public:
  Chart(const Span& span, size_t cells)
      : span_(span), cells_(cells), table_({{"NAME"}, {""}, {"UTILIZATION"}, {"MEMORY"}}) {}

  void AddJob(const JobUsage& job, const std::string& label) {
    const double cpus = job.metrics.resources().cpus();
    const auto memory = static_cast<double>(job.metrics.resources().memory_bytes());
    AddLine(
        job,
        label,
        "cpu",
        [cpus](const UsagePoint& point) {
          return point.has_cpus_used() ? Ratio(point.cpus_used(), cpus) : kUnknown;
        },
        [](const UsagePoint& point) { return static_cast<double>(point.memory_used_bytes()); },
        memory,
        LoadStyle);
    int gpus = 0;
    for (const UsagePoint& point : job.metrics.points()) gpus = std::max(gpus, point.gpus_size());
    for (int i = 0; i < gpus; ++i) AddGpu(job, i);
  }

  void AddTimeAxis(const std::string& end) {
    const std::string axis = Axis(end);
    table_.AddRow({{""}, {""}, {axis, Style::kSecondary}, {axis, Style::kSecondary}});
  }

  std::string Render(const Screen& screen) const { return table_.Render(screen); }

 private:
  using Value = std::function<double(const UsagePoint&)>;

  void AddGpu(const JobUsage& job, int place) {
    const auto& resources = job.metrics.resources();
    const double memory = place < resources.gpus_size()
                              ? static_cast<double>(resources.gpus(place).memory_bytes())
                              : 0;
    AddLine(
        job,
        "",
        fmt::format("gpu={}", place),
        [place](const UsagePoint& point) {
          return place < point.gpus_size() ? point.gpus(place).usage_ratio() : kUnknown;
        },
        [place](const UsagePoint& point) {
          return place < point.gpus_size()
                     ? static_cast<double>(point.gpus(place).memory_used_bytes())
                     : kUnknown;
        },
        memory,
        GpuStyle);
  }

  void AddLine(const JobUsage& job,
               const std::string& label,
               const std::string& what,
               const Value& use,
               const Value& memory_bytes,
               double memory,
               Style (*use_style)(double)) {
    const UsagePoint& newest = job.metrics.points(job.metrics.points_size() - 1);
    const double last = use(newest);
    const double last_bytes = std::max(0.0, memory_bytes(newest));
    const std::string use_text = last < 0 ? "-" : fmt::format("{}%", std::lround(last * 100));
    const auto used = FormatGigabytes(static_cast<uint64_t>(last_bytes));
    const std::string memory_text =
        memory > 0 ? fmt::format("{}/{}", used, FormatGigabytes(static_cast<uint64_t>(memory)))
                   : used;
    const auto share = [&](const UsagePoint& point) {
      const double bytes = memory_bytes(point);
      return bytes < 0 ? kUnknown : Ratio(bytes, memory);
    };
    table_.AddRow({{label, Style::kBold},
                   {what},
                   {Sparkline(Cells(job, span_, cells_, use)) + " " + use_text, use_style(last)},
                   {Sparkline(Cells(job, span_, cells_, share)) + " " + memory_text,
                    LoadStyle(Ratio(last_bytes, memory))}});
  }

  // "14:05 ┄┄┄┄ now"
  std::string Axis(const std::string& end) const {
    const std::string start = ClockTime(base::WallTime(std::chrono::seconds(span_.first)));
    std::string axis = start + " ";
    const size_t taken = start.size() + end.size() + 2;
    for (size_t i = taken; i < cells_; ++i) axis += "┄";
    return axis + (taken < cells_ ? " " : "") + end;
  }

  const Span span_;
  const size_t cells_;
  Table table_;
};

std::string Label(const JobUsage& job, bool has_replicas) {
  if (!has_replicas) return fmt::format("job={}", job.job_num);
  return fmt::format("replica={} job={}", job.replica_num, job.job_num);
}

}  // namespace

std::string Sparkline(const std::vector<double>& values) {
  constexpr std::array kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇"};
  std::string line;
  for (const double value : values) {
    if (value < 0 || std::isnan(value)) {
      line += " ";
      continue;
    }
    const auto level = static_cast<size_t>(std::min(value, 1.0) * kBlocks.size());
    line += kBlocks[std::min(level, kBlocks.size() - 1)];
  }
  return line;
}

std::string UsageChart(const std::vector<JobUsage>& jobs,
                       const UsageChartOptions& options,
                       const Screen& screen) {
  const Span span = SpanOf(jobs);
  if (span.first == 0) return "";
  const int width = screen.width > 0 ? (screen.width - kOtherCells) / 2 : kMostCells;
  Chart chart(span, static_cast<size_t>(std::clamp(width, kLeastCells, kMostCells)));
  const bool has_replicas = std::any_of(
      jobs.begin(), jobs.end(), [](const JobUsage& job) { return job.replica_num > 0; });
  for (const JobUsage& job : jobs) {
    if (job.metrics.points_size() > 0) chart.AddJob(job, Label(job, has_replicas));
  }
  chart.AddTimeAxis(options.is_live ? "now"
                                    : ClockTime(base::WallTime(std::chrono::seconds(span.last))));
  return chart.Render(screen);
}

}  // namespace dstack::cli
