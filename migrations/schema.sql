-- The schema that the migrations make. Written by store_schema_test, see README.md.

CREATE TABLE public.blobs (
    digest text NOT NULL,
    content bytea NOT NULL
);
ALTER TABLE ONLY public.blobs ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE public.chores (
    name text NOT NULL,
    next_at timestamp with time zone NOT NULL
);

CREATE TABLE public.events (
    project_id uuid NOT NULL,
    transaction xid8 DEFAULT pg_current_xact_id() NOT NULL,
    id bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    actor_id uuid,
    target_type text NOT NULL,
    target_id uuid NOT NULL,
    target_name text NOT NULL,
    message text NOT NULL,
    CONSTRAINT events_target_type_check CHECK ((target_type = ANY (ARRAY['run'::text, 'job'::text, 'instance'::text, 'fleet'::text])))
);

ALTER TABLE public.events ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.events_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.fleet_keys (
    fleet_id uuid NOT NULL,
    name text NOT NULL,
    private_key bytea NOT NULL
);

CREATE TABLE public.fleets (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    spec bytea NOT NULL,
    status text NOT NULL,
    status_message text DEFAULT ''::text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT fleets_status_check CHECK ((status = ANY (ARRAY['active'::text, 'terminating'::text, 'terminated'::text])))
);

CREATE TABLE public.instances (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    fleet_id uuid NOT NULL,
    instance_num integer NOT NULL,
    name text NOT NULL,
    status text NOT NULL,
    termination_reason text,
    status_message text DEFAULT ''::text NOT NULL,
    is_unreachable boolean DEFAULT false NOT NULL,
    hostname text NOT NULL,
    port integer NOT NULL,
    ssh_user text NOT NULL,
    identity_key_name text NOT NULL,
    internal_ip text DEFAULT ''::text NOT NULL,
    jump_hostname text DEFAULT ''::text NOT NULL,
    jump_port integer DEFAULT 22 NOT NULL,
    jump_user text DEFAULT ''::text NOT NULL,
    jump_key_name text DEFAULT ''::text NOT NULL,
    jump_host_key text DEFAULT ''::text NOT NULL,
    host_key text DEFAULT ''::text NOT NULL,
    host_key_fingerprint text DEFAULT ''::text NOT NULL,
    resources bytea,
    container_runtime text DEFAULT ''::text NOT NULL,
    has_privileged boolean DEFAULT false NOT NULL,
    shim_version text DEFAULT ''::text NOT NULL,
    wanted_blocks integer NOT NULL,
    total_blocks integer NOT NULL,
    busy_blocks integer DEFAULT 0 NOT NULL,
    owner_replica_id text,
    owner_epoch bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    drain_since timestamp with time zone,
    drain_reason text DEFAULT ''::text NOT NULL,
    is_drain_confirmed boolean DEFAULT true NOT NULL,
    drain_live_tasks integer DEFAULT 0 NOT NULL,
    CONSTRAINT instances_busy_blocks_check CHECK ((busy_blocks >= 0)),
    CONSTRAINT instances_drain_live_tasks_check CHECK ((drain_live_tasks >= 0)),
    CONSTRAINT instances_instance_num_check CHECK ((instance_num >= 0)),
    CONSTRAINT instances_jump_port_check CHECK (((jump_port >= 1) AND (jump_port <= 65535))),
    CONSTRAINT instances_port_check CHECK (((port >= 1) AND (port <= 65535))),
    CONSTRAINT instances_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'provisioning'::text, 'idle'::text, 'busy'::text, 'terminating'::text, 'terminated'::text]))),
    CONSTRAINT instances_termination_reason_check CHECK ((termination_reason = ANY (ARRAY['terminated_by_user'::text, 'provisioning_timeout'::text, 'error'::text, 'idle_timeout'::text]))),
    CONSTRAINT instances_total_blocks_check CHECK ((total_blocks >= 0)),
    CONSTRAINT instances_wanted_blocks_check CHECK ((wanted_blocks >= 0))
)
WITH (fillfactor='80');

CREATE TABLE public.jobs (
    id uuid NOT NULL,
    run_id uuid NOT NULL,
    project_id uuid NOT NULL,
    name text NOT NULL,
    replica_num integer NOT NULL,
    job_num integer NOT NULL,
    submission_num integer NOT NULL,
    priority integer NOT NULL,
    status text NOT NULL,
    termination_reason text,
    termination_message text DEFAULT ''::text NOT NULL,
    exit_status integer,
    instance_id uuid,
    instance_name text DEFAULT ''::text NOT NULL,
    blocks integer DEFAULT 0 NOT NULL,
    is_released boolean NOT NULL,
    offer bytea,
    pull_progress bytea,
    stop_grace_ms bigint,
    submitted_at timestamp with time zone NOT NULL,
    running_at timestamp with time zone,
    finished_at timestamp with time zone,
    unreachable_since timestamp with time zone,
    ssh_port integer DEFAULT 0 NOT NULL,
    task_revision bigint DEFAULT 0 NOT NULL,
    runner_revision bigint DEFAULT 0 NOT NULL,
    logs_ended boolean DEFAULT false NOT NULL,
    are_logs_deleted boolean DEFAULT false NOT NULL,
    CONSTRAINT jobs_blocks_check CHECK ((blocks >= 0)),
    CONSTRAINT jobs_job_num_check CHECK ((job_num >= 0)),
    CONSTRAINT jobs_replica_num_check CHECK ((replica_num >= 0)),
    CONSTRAINT jobs_status_check CHECK ((status = ANY (ARRAY['submitted'::text, 'provisioning'::text, 'pulling'::text, 'running'::text, 'terminating'::text, 'terminated'::text, 'aborted'::text, 'failed'::text, 'done'::text]))),
    CONSTRAINT jobs_submission_num_check CHECK ((submission_num >= 0)),
    CONSTRAINT jobs_termination_reason_check CHECK ((termination_reason = ANY (ARRAY['failed_to_start_due_to_no_capacity'::text, 'interrupted_by_no_capacity'::text, 'instance_unreachable'::text, 'waiting_instance_limit_exceeded'::text, 'waiting_runner_limit_exceeded'::text, 'terminated_by_user'::text, 'volume_error'::text, 'scaled_down'::text, 'done_by_runner'::text, 'aborted_by_user'::text, 'terminated_by_server'::text, 'inactivity_duration_exceeded'::text, 'terminated_due_to_utilization_policy'::text, 'container_exited_with_error'::text, 'ports_binding_failed'::text, 'creating_container_error'::text, 'executor_error'::text, 'max_duration_exceeded'::text, 'instance_access_revoked'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.log_segments (
    job_id uuid NOT NULL,
    source smallint NOT NULL,
    first_sequence bigint NOT NULL,
    last_sequence bigint NOT NULL,
    last_time_unix_nano bigint NOT NULL,
    raw_bytes integer NOT NULL,
    data bytea NOT NULL
);
ALTER TABLE ONLY public.log_segments ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE TABLE public.log_streams (
    job_id uuid NOT NULL,
    source smallint NOT NULL,
    last_sequence bigint DEFAULT 0 NOT NULL,
    is_ended boolean DEFAULT false NOT NULL,
    tail_sequence bigint DEFAULT 0 NOT NULL,
    tail_bytes integer DEFAULT 0 NOT NULL,
    CONSTRAINT log_streams_source_check CHECK ((source > 0))
)
WITH (fillfactor='50');

CREATE TABLE public.project_members (
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    role text NOT NULL,
    CONSTRAINT project_members_role_check CHECK ((role = ANY (ARRAY['admin'::text, 'manager'::text, 'user'::text])))
);

CREATE TABLE public.projects (
    id uuid NOT NULL,
    name text NOT NULL,
    owner_id uuid NOT NULL,
    ssh_public_key text NOT NULL,
    ssh_private_key bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.replicas (
    id text NOT NULL,
    lease_expires_at timestamp with time zone NOT NULL
);

CREATE TABLE public.requests (
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    request_id text NOT NULL,
    digest text NOT NULL,
    result_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.runs (
    id uuid NOT NULL,
    project_id uuid NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    spec bytea NOT NULL,
    status text NOT NULL,
    termination_reason text,
    priority integer NOT NULL,
    fleet_id uuid,
    resubmission_attempt integer DEFAULT 0 NOT NULL,
    next_wakeup_at timestamp with time zone,
    claimed_until timestamp with time zone,
    submitted_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    forgotten_at timestamp with time zone,
    version bigint DEFAULT 1 NOT NULL,
    CONSTRAINT runs_priority_check CHECK (((priority >= 0) AND (priority <= 100))),
    CONSTRAINT runs_status_check CHECK ((status = ANY (ARRAY['pending'::text, 'submitted'::text, 'provisioning'::text, 'running'::text, 'terminating'::text, 'terminated'::text, 'failed'::text, 'done'::text]))),
    CONSTRAINT runs_termination_reason_check CHECK ((termination_reason = ANY (ARRAY['all_jobs_done'::text, 'job_failed'::text, 'retry_limit_exceeded'::text, 'stopped_by_user'::text, 'aborted_by_user'::text, 'server_error'::text])))
)
WITH (fillfactor='80');

CREATE TABLE public.schema_migrations (
    number integer NOT NULL,
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.settings (
    name text NOT NULL,
    value text NOT NULL
);

CREATE TABLE public.usage_points (
    subject_id uuid NOT NULL,
    "time" timestamp with time zone NOT NULL,
    point bytea NOT NULL
);

CREATE TABLE public.user_files (
    user_id uuid NOT NULL,
    digest text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);

CREATE TABLE public.user_tokens (
    token_hash bytea NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,
    revoked_at timestamp with time zone
);

CREATE TABLE public.users (
    id uuid NOT NULL,
    name text NOT NULL,
    global_role text NOT NULL,
    ssh_public_key text NOT NULL,
    ssh_private_key bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT users_global_role_check CHECK ((global_role = ANY (ARRAY['admin'::text, 'user'::text])))
);

ALTER TABLE ONLY public.blobs
    ADD CONSTRAINT blobs_pkey PRIMARY KEY (digest);

ALTER TABLE ONLY public.chores
    ADD CONSTRAINT chores_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (project_id, transaction, id);

ALTER TABLE ONLY public.fleet_keys
    ADD CONSTRAINT fleet_keys_pkey PRIMARY KEY (fleet_id, name);

ALTER TABLE ONLY public.fleets
    ADD CONSTRAINT fleets_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_run_id_replica_num_job_num_submission_num_key UNIQUE (run_id, replica_num, job_num, submission_num);

ALTER TABLE ONLY public.log_segments
    ADD CONSTRAINT log_segments_pkey PRIMARY KEY (job_id, source, first_sequence);

ALTER TABLE ONLY public.log_streams
    ADD CONSTRAINT log_streams_pkey PRIMARY KEY (job_id, source);

ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_pkey PRIMARY KEY (project_id, user_id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_name_key UNIQUE (name);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.replicas
    ADD CONSTRAINT replicas_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.requests
    ADD CONSTRAINT requests_pkey PRIMARY KEY (project_id, user_id, request_id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.schema_migrations
    ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (number);

ALTER TABLE ONLY public.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.usage_points
    ADD CONSTRAINT usage_points_pkey PRIMARY KEY (subject_id, "time");

ALTER TABLE ONLY public.user_files
    ADD CONSTRAINT user_files_pkey PRIMARY KEY (user_id, digest);

ALTER TABLE ONLY public.user_tokens
    ADD CONSTRAINT user_tokens_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_name_key UNIQUE (name);

ALTER TABLE ONLY public.users
    ADD CONSTRAINT users_pkey PRIMARY KEY (id);

CREATE INDEX events_by_age ON public.events USING btree (created_at);

CREATE INDEX events_of_target ON public.events USING btree (target_id, transaction, id);

CREATE UNIQUE INDEX fleets_live_name ON public.fleets USING btree (project_id, name) WHERE (status <> 'terminated'::text);

CREATE INDEX instances_live ON public.instances USING btree (project_id) WHERE (status <> 'terminated'::text);

CREATE UNIQUE INDEX instances_live_host ON public.instances USING btree (hostname, port, jump_hostname) WHERE (status <> 'terminated'::text);

CREATE UNIQUE INDEX instances_live_number ON public.instances USING btree (fleet_id, instance_num) WHERE (status <> 'terminated'::text);

CREATE INDEX instances_of_project ON public.instances USING btree (project_id, fleet_id, instance_num);

CREATE INDEX instances_owner ON public.instances USING btree (owner_replica_id) WHERE (status <> 'terminated'::text);

CREATE INDEX jobs_ended_with_logs ON public.jobs USING btree (finished_at) WHERE ((finished_at IS NOT NULL) AND (NOT are_logs_deleted));

CREATE INDEX jobs_of_host ON public.jobs USING btree (instance_id) WHERE (NOT is_released);

CREATE INDEX jobs_waiting ON public.jobs USING btree (priority DESC, submitted_at, id) WHERE (status = 'submitted'::text);

CREATE INDEX project_members_of_user ON public.project_members USING btree (user_id);

CREATE INDEX requests_by_age ON public.requests USING btree (created_at);

CREATE INDEX runs_active ON public.runs USING btree (project_id, submitted_at DESC, id DESC) WHERE ((forgotten_at IS NULL) AND (status <> ALL (ARRAY['terminated'::text, 'failed'::text, 'done'::text])));

CREATE INDEX runs_due ON public.runs USING btree (next_wakeup_at) WHERE (next_wakeup_at IS NOT NULL);

CREATE INDEX runs_forgotten ON public.runs USING btree (forgotten_at) WHERE (forgotten_at IS NOT NULL);

CREATE UNIQUE INDEX runs_known_name ON public.runs USING btree (project_id, name) WHERE (forgotten_at IS NULL);

CREATE INDEX runs_newest ON public.runs USING btree (project_id, submitted_at DESC, id DESC) WHERE (forgotten_at IS NULL);

CREATE INDEX runs_newest_of_user ON public.runs USING btree (project_id, user_id, submitted_at DESC, id DESC) WHERE (forgotten_at IS NULL);

CREATE INDEX usage_points_by_age ON public.usage_points USING btree ("time");

CREATE INDEX user_files_by_age ON public.user_files USING btree (created_at);

CREATE INDEX user_files_of_blob ON public.user_files USING btree (digest);

CREATE INDEX user_tokens_of_user ON public.user_tokens USING btree (user_id);

ALTER TABLE ONLY public.fleet_keys
    ADD CONSTRAINT fleet_keys_fleet_id_fkey FOREIGN KEY (fleet_id) REFERENCES public.fleets(id);

ALTER TABLE ONLY public.fleets
    ADD CONSTRAINT fleets_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

ALTER TABLE ONLY public.fleets
    ADD CONSTRAINT fleets_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_fleet_id_fkey FOREIGN KEY (fleet_id) REFERENCES public.fleets(id);

ALTER TABLE ONLY public.instances
    ADD CONSTRAINT instances_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_instance_id_fkey FOREIGN KEY (instance_id) REFERENCES public.instances(id);

ALTER TABLE ONLY public.jobs
    ADD CONSTRAINT jobs_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.runs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.log_streams
    ADD CONSTRAINT log_streams_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.jobs(id) ON DELETE CASCADE;

ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

ALTER TABLE ONLY public.project_members
    ADD CONSTRAINT project_members_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.projects
    ADD CONSTRAINT projects_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_fleet_id_fkey FOREIGN KEY (fleet_id) REFERENCES public.fleets(id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_project_id_fkey FOREIGN KEY (project_id) REFERENCES public.projects(id);

ALTER TABLE ONLY public.runs
    ADD CONSTRAINT runs_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.user_files
    ADD CONSTRAINT user_files_digest_fkey FOREIGN KEY (digest) REFERENCES public.blobs(digest);

ALTER TABLE ONLY public.user_files
    ADD CONSTRAINT user_files_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

ALTER TABLE ONLY public.user_tokens
    ADD CONSTRAINT user_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES public.users(id);

