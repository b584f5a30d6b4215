-- What is old goes.

-- Work that one replica does for all, from time to time.
CREATE TABLE chores (
  name text PRIMARY KEY,
  next_at timestamptz NOT NULL
);

-- The records of jobs that ended long ago are deleted; log_streams still says how many there were.
ALTER TABLE jobs ADD COLUMN are_logs_deleted boolean NOT NULL DEFAULT false;
CREATE INDEX jobs_ended_with_logs ON jobs (finished_at)
  WHERE finished_at IS NOT NULL AND NOT are_logs_deleted;

CREATE INDEX user_files_by_age ON user_files (created_at);
CREATE INDEX user_files_of_blob ON user_files (digest);
