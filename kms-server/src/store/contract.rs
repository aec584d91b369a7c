//! What every engine must do, tested alike.
