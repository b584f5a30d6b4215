-- Hosts that take no new jobs.

ALTER TABLE instances
  ADD COLUMN drain_since timestamptz,  -- NULL: it takes jobs
  ADD COLUMN drain_reason text NOT NULL DEFAULT '',
  -- The host has been told the present wish, drain or none.
  ADD COLUMN is_drain_confirmed boolean NOT NULL DEFAULT true,
  -- Tasks on the drained host, as it says.
  ADD COLUMN drain_live_tasks integer NOT NULL DEFAULT 0 CHECK (drain_live_tasks >= 0);
