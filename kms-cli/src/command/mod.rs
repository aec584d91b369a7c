//! What each command does, one file each.

pub mod audit;
pub mod bench;
pub mod census;
pub mod cert;
pub mod columns;
pub mod crypt;
pub mod demo;
pub mod doctor;
pub mod files;
pub mod key;
pub mod log;
pub mod policy;
pub mod reseal;
mod subjects;
pub mod tenant;
pub mod verify;
