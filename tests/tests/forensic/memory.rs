//! The memory of the process: what lives is there, what was destroyed is not.
