"""The clock, the queue and one function a job. A job is idempotent, safe to lose and safe to repeat: the rows are the truth."""
