//! The adaptive policy: each object in the class that costs the least, by what the logs have taught about its bucket.
pub mod hazard;
pub mod learned;
pub mod safeguard;
pub mod solve;
