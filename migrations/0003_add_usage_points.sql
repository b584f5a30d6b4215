-- What jobs and hosts use: a point of each every ten seconds.

CREATE TABLE usage_points (
  subject_id uuid NOT NULL,  -- job or instance; no foreign key, as with log_segments
  time timestamptz NOT NULL,  -- end of the interval
  point bytea NOT NULL,  -- api.v1.UsagePoint without its time
  PRIMARY KEY (subject_id, time)
);
CREATE INDEX usage_points_by_age ON usage_points (time);
