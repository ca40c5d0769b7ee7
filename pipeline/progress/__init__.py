"""Progress: how far a job is, for a person, a page of Beam's engine, or Prometheus. It only looks and never decides."""
