#pragma once

#include <string>
#include <vector>

#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "services/server/domain/job/job.h"

namespace dstack::server {

// "SELECT <columns of a job> FROM jobs j ": to be continued with WHERE.
extern const char* const kSelectJob;
// Order of the jobs of a run.
extern const char* const kJobOrder;

absl::StatusOr<Job> JobFromRow(const pqxx::row& row);
absl::StatusOr<std::vector<Job>> JobsFromRows(const pqxx::result& rows);

void InsertJob(pqxx::work& tx, const Job& job, std::uint32_t priority);

// Writes what a transition can change: everything but identity, position and time of submission.
void UpdateJob(pqxx::work& tx, const Job& job);

// NOT_FOUND/JOB_NOT_FOUND.
absl::Status JobNotFound(const JobId& id);

}  // namespace dstack::server
