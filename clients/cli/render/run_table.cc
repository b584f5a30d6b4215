#include "clients/cli/render/run_table.h"

#include <utility>

#include <fmt/format.h>

#include "clients/cli/render/enum_word.h"
#include "clients/cli/render/text.h"

namespace dstack::cli {
namespace {

using api::v1::Job;
using api::v1::JobSubmission;
using api::v1::Run;

std::string PullProgress(const api::v1::ImagePullProgress& progress) {
  constexpr uint64_t kMegabyte = 1 << 20;
  constexpr uint64_t kGigabyte = 1 << 30;
  const bool in_gigabytes = progress.total_bytes() >= kGigabyte;
  const double unit = static_cast<double>(in_gigabytes ? kGigabyte : kMegabyte);
  const auto number = [&](uint64_t bytes) {
    return fmt::format("{:.{}f}", static_cast<double>(bytes) / unit, in_gigabytes ? 1 : 0);
  };
  return fmt::format("{}/{}/{}{}{}",
                     number(progress.extracted_bytes()),
                     number(progress.downloaded_bytes()),
                     progress.is_total_final() ? "" : "≥",
                     number(progress.total_bytes()),
                     in_gigabytes ? "GB" : "MB");
}

Cell StatusCell(const std::string& text, const JobSubmission* submission) {
  Cell cell{text, StatusStyle(text)};
  if (submission == nullptr) return cell;
  if (submission->has_image_pull_progress()) {
    cell.text += " " + PullProgress(submission->image_pull_progress());
  }
  if (submission->is_unreachable()) {
    cell.text += " (unreachable)";
    cell.style = Style::kFailed;
  }
  return cell;
}

std::string DateText(const google::protobuf::Timestamp& timestamp, const RunTableOptions& options) {
  const base::WallTime then = ToWallTime(timestamp);
  return options.has_clock_times ? ClockTime(then) : RelativeDate(then, options.now);
}

std::string InstanceText(const api::v1::Offer& offer) {
  if (offer.instance_type().empty()) return "-";
  if (offer.total_blocks() <= 1) return offer.instance_type();
  return fmt::format("{} ({}/{})", offer.instance_type(), offer.blocks(), offer.total_blocks());
}

// Cells between the name and the status.
std::vector<Cell> OfferCells(const JobSubmission* submission, const RunTableOptions& options) {
  if (submission == nullptr || !submission->has_offer()) {
    return std::vector<Cell>(options.is_verbose ? 4 : 3, Cell{"-"});
  }
  const api::v1::Offer& offer = submission->offer();
  std::vector<Cell> cells{{FormatBackend(offer.backend(), offer.region())}};
  if (options.is_verbose) {
    cells.push_back({FormatHardware(offer.resources())});
    cells.push_back({InstanceText(offer)});
  } else {
    cells.push_back({FormatGpus(offer.resources())});
  }
  cells.push_back({FormatPrice(offer.price_dollars_per_hour())});
  return cells;
}

std::string RunError(const Run& run, const JobSubmission* submission) {
  if (!run.error().empty()) return run.error();
  return submission == nullptr ? "" : submission->termination_message();
}

std::vector<Cell> Row(Cell name,
                      std::vector<Cell> offer,
                      Cell status,
                      Cell date,
                      const std::string& error,
                      const RunTableOptions& options) {
  std::vector<Cell> row{std::move(name)};
  for (Cell& cell : offer) row.push_back(std::move(cell));
  row.push_back(std::move(status));
  row.push_back(std::move(date));
  if (options.is_verbose) row.push_back({error});
  return row;
}

std::string JobLabel(const Run& run, const Job& job) {
  bool has_replicas = false;
  bool has_jobs = false;
  for (const Job& other : run.jobs()) {
    has_replicas = has_replicas || other.replica_num() != job.replica_num();
    has_jobs = has_jobs || other.job_num() != job.job_num();
  }
  std::string label = "  ";
  if (has_replicas) label += fmt::format(" replica={}", job.replica_num());
  if (has_jobs) label += fmt::format(" job={}", job.job_num());
  return label;
}

void AddRun(const Run& run, const RunTableOptions& options, Table* table) {
  const bool is_single = run.jobs_size() <= 1;
  const JobSubmission* only =
      is_single && run.jobs_size() == 1 ? LatestSubmission(run.jobs(0)) : nullptr;
  const std::string& name = run.spec().run_name();
  table->AddRow(Row({name.empty() ? run.id() : name, Style::kBold},
                    OfferCells(only, options),
                    StatusCell(RunStatusText(run), only),
                    {DateText(run.submitted_at(), options), Style::kSecondary},
                    RunError(run, only),
                    options));
  if (is_single) return;
  for (const Job& job : run.jobs()) {
    const JobSubmission* latest = LatestSubmission(job);
    if (latest == nullptr) continue;
    table->AddRow(Row({JobLabel(run, job)},
                      OfferCells(latest, options),
                      StatusCell(JobStatusText(*latest), latest),
                      {DateText(latest->submitted_at(), options), Style::kSecondary},
                      latest->termination_message(),
                      options));
  }
}

}  // namespace

Table RunTable(const std::vector<Run>& runs, const RunTableOptions& options) {
  std::vector<Column> columns{{"NAME"}, {"BACKEND", true}};
  if (options.is_verbose) {
    columns.push_back({"RESOURCES", true});
    columns.push_back({"INSTANCE TYPE", true});
  } else {
    columns.push_back({"GPU", true});
  }
  columns.push_back({"PRICE"});
  columns.push_back({"STATUS"});
  columns.push_back({"SUBMITTED"});
  if (options.is_verbose) columns.push_back({"ERROR", true});
  Table table(std::move(columns));
  for (const Run& run : runs) AddRun(run, options, &table);
  return table;
}

const JobSubmission* LatestSubmission(const Job& job) {
  return job.submissions().empty() ? nullptr : &job.submissions(job.submissions_size() - 1);
}

const Job* FindJob(const Run& run, uint32_t replica_num, uint32_t job_num) {
  for (const Job& job : run.jobs()) {
    if (job.replica_num() == replica_num && job.job_num() == job_num) return &job;
  }
  return nullptr;
}

bool IsFinal(api::v1::RunStatus status) {
  return status == api::v1::RUN_STATUS_TERMINATED || status == api::v1::RUN_STATUS_FAILED ||
         status == api::v1::RUN_STATUS_DONE;
}

std::string RunStatusText(const Run& run) {
  if (!run.status_message().empty()) return run.status_message();
  return EnumWord(api::v1::RunStatus_Name(run.status()), "RUN_STATUS_");
}

std::string JobStatusText(const JobSubmission& submission) {
  if (!submission.status_message().empty()) return submission.status_message();
  return EnumWord(api::v1::JobStatus_Name(submission.status()), "JOB_STATUS_");
}

}  // namespace dstack::cli
