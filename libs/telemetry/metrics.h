#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

// Metrics of one process. Each service declares its metrics in one header, with names of the form
// dstack_<service>_<noun>_<unit> and labels from small fixed sets (never ids or names of users).
namespace dstack::telemetry {

using Labels = std::map<std::string, std::string>;

// Holds all metrics and renders them. Returned references live as long as the registry. Asking
// again for the same name and labels gives the same object. Thread-safe.
class Metrics {
 public:
  Metrics();

  prometheus::Counter& Counter(const std::string& name,
                               const std::string& help,
                               const Labels& labels = {});
  prometheus::Gauge& Gauge(const std::string& name,
                           const std::string& help,
                           const Labels& labels = {});
  // `bounds`: upper ends of the buckets, ascending; LatencyBuckets() for seconds of an RPC.
  prometheus::Histogram& Histogram(const std::string& name,
                                   const std::string& help,
                                   const Labels& labels,
                                   const std::vector<double>& bounds);

  // All metrics in Prometheus' text format.
  std::string Render() const;

  // For prometheus-cpp's own exposers.
  const std::shared_ptr<prometheus::Registry>& registry() const { return registry_; }

 private:
  std::shared_ptr<prometheus::Registry> registry_;
};

// 1 ms to 60 s, about three per decade.
std::vector<double> LatencyBuckets();

}  // namespace dstack::telemetry
