-- The whole schema of the first release.
--
-- Conventions
--   * States and reasons are the lower-case words of the contract's enums without their prefix.
--   * Documents (specs, offers, hardware) are protobuf messages in bytea: they are read and written
--     whole, their shape is versioned by the contract, and proto3 keeps fields of newer versions.
--     What statements filter, join or sort by is a column beside them.
--   * Documents and keys that may hold secrets are sealed (AES-256-GCM), see the comments.
--   * Business times come from the server's clock as parameters; leases use now().
--   * project_id leads every index that serves users.

CREATE TABLE settings (
  name text PRIMARY KEY,
  value text NOT NULL
);

CREATE TABLE users (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE,
  global_role text NOT NULL CHECK (global_role IN ('admin', 'user')),
  ssh_public_key text NOT NULL,
  ssh_private_key bytea NOT NULL,  -- sealed
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE user_tokens (
  token_hash bytea PRIMARY KEY,  -- SHA-256 of the token
  user_id uuid NOT NULL REFERENCES users,
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,
  revoked_at timestamptz
);
CREATE INDEX user_tokens_of_user ON user_tokens (user_id);

CREATE TABLE projects (
  id uuid PRIMARY KEY,
  name text NOT NULL UNIQUE,
  owner_id uuid NOT NULL REFERENCES users,
  ssh_public_key text NOT NULL,
  ssh_private_key bytea NOT NULL,  -- sealed
  created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE project_members (
  project_id uuid NOT NULL REFERENCES projects,
  user_id uuid NOT NULL REFERENCES users,
  role text NOT NULL CHECK (role IN ('admin', 'manager', 'user')),
  PRIMARY KEY (project_id, user_id)
);
CREATE INDEX project_members_of_user ON project_members (user_id);

-- What a write with a request_id has made, so that a repeat gives the same answer.
CREATE TABLE requests (
  project_id uuid NOT NULL,
  user_id uuid NOT NULL,
  request_id text NOT NULL,
  digest text NOT NULL,
  result_id uuid NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (project_id, user_id, request_id)
);
CREATE INDEX requests_by_age ON requests (created_at);

CREATE TABLE fleets (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  user_id uuid NOT NULL REFERENCES users,
  name text NOT NULL,
  spec bytea NOT NULL,  -- FleetSpec without keys, sealed: its env may hold secrets
  status text NOT NULL CHECK (status IN ('active', 'terminating', 'terminated')),
  status_message text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL,
  version bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX fleets_live_name ON fleets (project_id, name) WHERE status <> 'terminated';

-- Private keys that a fleet's document names.
CREATE TABLE fleet_keys (
  fleet_id uuid NOT NULL REFERENCES fleets,
  name text NOT NULL,
  private_key bytea NOT NULL,  -- sealed
  PRIMARY KEY (fleet_id, name)
);

-- Server processes.
CREATE TABLE replicas (
  id text PRIMARY KEY,
  lease_expires_at timestamptz NOT NULL
);

CREATE TABLE instances (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  fleet_id uuid NOT NULL REFERENCES fleets,
  instance_num integer NOT NULL CHECK (instance_num >= 0),
  name text NOT NULL,
  status text NOT NULL CHECK (
    status IN ('pending', 'provisioning', 'idle', 'busy', 'terminating', 'terminated')),
  termination_reason text CHECK (termination_reason IN (
    'terminated_by_user', 'provisioning_timeout', 'error', 'idle_timeout')),
  status_message text NOT NULL DEFAULT '',
  is_unreachable boolean NOT NULL DEFAULT false,
  hostname text NOT NULL,
  port integer NOT NULL CHECK (port BETWEEN 1 AND 65535),
  ssh_user text NOT NULL,
  identity_key_name text NOT NULL,
  internal_ip text NOT NULL DEFAULT '',
  -- Host to go through; an empty hostname means none.
  jump_hostname text NOT NULL DEFAULT '',
  jump_port integer NOT NULL DEFAULT 22 CHECK (jump_port BETWEEN 1 AND 65535),
  jump_user text NOT NULL DEFAULT '',
  jump_key_name text NOT NULL DEFAULT '',
  jump_host_key text NOT NULL DEFAULT '',
  host_key text NOT NULL DEFAULT '',
  host_key_fingerprint text NOT NULL DEFAULT '',
  resources bytea,  -- common.v1.Resources; NULL until the shim has reported
  container_runtime text NOT NULL DEFAULT '',
  has_privileged boolean NOT NULL DEFAULT false,
  shim_version text NOT NULL DEFAULT '',
  wanted_blocks integer NOT NULL CHECK (wanted_blocks >= 0),
  total_blocks integer NOT NULL CHECK (total_blocks >= 0),
  busy_blocks integer NOT NULL DEFAULT 0 CHECK (busy_blocks >= 0),
  owner_replica_id text,
  owner_epoch bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL,
  finished_at timestamptz
) WITH (fillfactor = 80);
-- A number is free again when its host is gone.
CREATE UNIQUE INDEX instances_live_number ON instances (fleet_id, instance_num)
  WHERE status <> 'terminated';
-- One host, one shim of this installation: also across projects, which would otherwise both give
-- its GPUs away.
CREATE UNIQUE INDEX instances_live_host ON instances (hostname, port, jump_hostname)
  WHERE status <> 'terminated';
CREATE INDEX instances_of_project ON instances (project_id, fleet_id, instance_num);
CREATE INDEX instances_live ON instances (project_id) WHERE status <> 'terminated';
CREATE INDEX instances_owner ON instances (owner_replica_id) WHERE status <> 'terminated';

CREATE TABLE runs (
  id uuid PRIMARY KEY,
  project_id uuid NOT NULL REFERENCES projects,
  user_id uuid NOT NULL REFERENCES users,
  name text NOT NULL,
  spec bytea NOT NULL,  -- RunSpec, sealed: its env may hold secrets
  status text NOT NULL CHECK (status IN (
    'pending', 'submitted', 'provisioning', 'running', 'terminating', 'terminated', 'failed',
    'done')),
  termination_reason text CHECK (termination_reason IN (
    'all_jobs_done', 'job_failed', 'retry_limit_exceeded', 'stopped_by_user', 'aborted_by_user',
    'server_error')),
  priority integer NOT NULL CHECK (priority BETWEEN 0 AND 100),
  fleet_id uuid REFERENCES fleets,
  resubmission_attempt integer NOT NULL DEFAULT 0,
  next_wakeup_at timestamptz,
  claimed_until timestamptz,  -- a replica looks at it since next_wakeup_at
  submitted_at timestamptz NOT NULL,
  finished_at timestamptz,
  forgotten_at timestamptz,  -- deleted, or replaced by a newer run of that name
  version bigint NOT NULL DEFAULT 1
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX runs_known_name ON runs (project_id, name) WHERE forgotten_at IS NULL;
CREATE INDEX runs_newest ON runs (project_id, submitted_at DESC, id DESC)
  WHERE forgotten_at IS NULL;
CREATE INDEX runs_newest_of_user ON runs (project_id, user_id, submitted_at DESC, id DESC)
  WHERE forgotten_at IS NULL;
CREATE INDEX runs_active ON runs (project_id, submitted_at DESC, id DESC)
  WHERE forgotten_at IS NULL AND status NOT IN ('terminated', 'failed', 'done');
CREATE INDEX runs_due ON runs (next_wakeup_at) WHERE next_wakeup_at IS NOT NULL;
CREATE INDEX runs_forgotten ON runs (forgotten_at) WHERE forgotten_at IS NOT NULL;

CREATE TABLE jobs (
  id uuid PRIMARY KEY,
  run_id uuid NOT NULL REFERENCES runs ON DELETE CASCADE,
  project_id uuid NOT NULL,
  name text NOT NULL,
  replica_num integer NOT NULL CHECK (replica_num >= 0),
  job_num integer NOT NULL CHECK (job_num >= 0),
  submission_num integer NOT NULL CHECK (submission_num >= 0),
  priority integer NOT NULL,  -- of its run, here for the index of waiting jobs
  status text NOT NULL CHECK (status IN (
    'submitted', 'provisioning', 'pulling', 'running', 'terminating', 'terminated', 'aborted',
    'failed', 'done')),
  termination_reason text CHECK (termination_reason IN (
    'failed_to_start_due_to_no_capacity', 'interrupted_by_no_capacity', 'instance_unreachable',
    'waiting_instance_limit_exceeded', 'waiting_runner_limit_exceeded', 'terminated_by_user',
    'volume_error', 'scaled_down', 'done_by_runner', 'aborted_by_user', 'terminated_by_server',
    'inactivity_duration_exceeded', 'terminated_due_to_utilization_policy',
    'container_exited_with_error', 'ports_binding_failed', 'creating_container_error',
    'executor_error', 'max_duration_exceeded', 'instance_access_revoked')),
  termination_message text NOT NULL DEFAULT '',
  exit_status integer,
  instance_id uuid REFERENCES instances,
  instance_name text NOT NULL DEFAULT '',
  blocks integer NOT NULL DEFAULT 0 CHECK (blocks >= 0),
  is_released boolean NOT NULL,
  offer bytea,          -- api.v1.Offer
  pull_progress bytea,  -- api.v1.ImagePullProgress
  stop_grace_ms bigint,
  submitted_at timestamptz NOT NULL,
  running_at timestamptz,
  finished_at timestamptz,
  unreachable_since timestamptz,
  ssh_port integer NOT NULL DEFAULT 0,
  task_revision bigint NOT NULL DEFAULT 0,
  runner_revision bigint NOT NULL DEFAULT 0,
  logs_ended boolean NOT NULL DEFAULT false,
  UNIQUE (run_id, replica_num, job_num, submission_num)
) WITH (fillfactor = 70);
CREATE INDEX jobs_waiting ON jobs (priority DESC, submitted_at, id) WHERE status = 'submitted';
CREATE INDEX jobs_of_host ON jobs (instance_id) WHERE NOT is_released;

-- How far the log of one source of a job is stored. The row is locked by whoever appends.
CREATE TABLE log_streams (
  job_id uuid NOT NULL REFERENCES jobs ON DELETE CASCADE,
  source smallint NOT NULL CHECK (source > 0),  -- common.v1.LogSource
  last_sequence bigint NOT NULL DEFAULT 0,
  is_ended boolean NOT NULL DEFAULT false,
  -- The newest segment, and the bytes stored in it: small appends go on in it.
  tail_sequence bigint NOT NULL DEFAULT 0,
  tail_bytes integer NOT NULL DEFAULT 0,
  PRIMARY KEY (job_id, source)
) WITH (fillfactor = 50);

-- Consecutive records of one source: zstd frames, one after the other, of LogBatch messages.
CREATE TABLE log_segments (
  job_id uuid NOT NULL,
  source smallint NOT NULL,
  first_sequence bigint NOT NULL,
  last_sequence bigint NOT NULL,
  last_time_unix_nano bigint NOT NULL,
  raw_bytes integer NOT NULL,  -- of the records' data
  data bytea NOT NULL,
  PRIMARY KEY (job_id, source, first_sequence)
);
-- Compressed already. No foreign key: a check per append would lock the job's row against updates of
-- its status; whoever purges a job deletes its segments.
ALTER TABLE log_segments ALTER COLUMN data SET STORAGE EXTERNAL;

-- Uploaded content, once however many users have uploaded it.
CREATE TABLE blobs (
  digest text PRIMARY KEY,  -- SHA-256, 64 lower-case hexadecimal digits
  content bytea NOT NULL
);
ALTER TABLE blobs ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE user_files (
  user_id uuid NOT NULL REFERENCES users,
  digest text NOT NULL REFERENCES blobs,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (user_id, digest)
);

-- What happened, one row per change of an object. Within a project events are ordered by
-- (transaction, id). A reader takes only transactions below pg_snapshot_xmin(pg_current_snapshot()):
-- older ones are all visible, so nothing appears behind a reader, and no writer waits for another.
CREATE TABLE events (
  project_id uuid NOT NULL,
  transaction xid8 NOT NULL DEFAULT pg_current_xact_id(),
  id bigint GENERATED ALWAYS AS IDENTITY,
  created_at timestamptz NOT NULL,
  actor_id uuid,  -- user; NULL for the server itself
  target_type text NOT NULL CHECK (target_type IN ('run', 'job', 'instance', 'fleet')),
  target_id uuid NOT NULL,
  target_name text NOT NULL,
  message text NOT NULL,
  PRIMARY KEY (project_id, transaction, id)
);
CREATE INDEX events_of_target ON events (target_id, transaction, id);
CREATE INDEX events_by_age ON events (created_at);
