//! Checkpoints.

/// The directory of the signed notes, in the audit directory.
pub(crate) const FOLDER: &str = "checkpoints";
