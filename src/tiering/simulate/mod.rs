//! Replays a trace of accesses under a policy, and says what it would have cost.
//!
//! [`trace`] holds what happened, as it is read from a file or made of access [`logs`], [`account`] bills one object by the day, [`replay`] takes an object through its days
//! and asks a policy when it may have something to say, [`policies`] has every policy by its name (recency and frequency are
//! the daemon's own code), [`adaptive`] the one that learns, by the [`lessons`] of the trace, [`optimum`] the least that it can cost, and [`comparison`] puts
//! all side by side. [`shadows`] does in the daemon, with what it knows of its objects, what [`adaptive`] does with a trace.
//!
//! # What is compared with what
//!
//! Users put every object into STANDARD, whatever the policy, and pay the request. A policy runs at the beginning of a day (of
//! every day, of every seventh, of every thirtieth), knows what happened on the days before, and pays for its moves.
//! Intelligent-Tiering as a policy for all is reckoned generously: objects are moved there on the day after they were
//! written, for one request, and those below 128 KiB, which gain nothing there, not at all. The optimum moves on any day, by
//! what is yet to happen. All bills end with the trace's last day, and nothing is paid ahead: not the rest of a minimum
//! duration either.
pub mod account;
pub mod adaptive;
pub mod comparison;
pub mod lessons;
pub mod logs;
pub mod optimum;
pub mod policies;
pub mod replay;
pub mod shadows;
pub mod trace;
