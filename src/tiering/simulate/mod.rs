//! Replays a trace of accesses under a policy, and says what it would have cost.
pub mod account;
pub mod adaptive;
pub mod optimum;
pub mod policies;
pub mod replay;
pub mod trace;
