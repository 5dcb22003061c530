pub mod config;
pub mod tiering;
