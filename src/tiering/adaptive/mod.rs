//! The adaptive policy: each object in the class that costs the least, by what the logs have taught about its bucket.
//!
//! From the idle tables of [`super::evidence`] follow chances of a read ([`hazard`]), from these and the prices a plan for every
//! size and volume of reads ([`solve`], by value iteration), and from the plan an object's class, by one look into a table
//! ([`learned`]). Several experts plan so, each under other rules ([`experts`]), and [`safeguard`] says which one is followed.
//!
//! None of them uses the archives, whose readers wait; [`archives`] says which objects may go there all the same.
//!
//! Pure: what was learned comes in as tables, and nothing here knows where these are kept.

pub mod archives;
pub mod arrivals;
pub mod experts;
pub mod hazard;
pub mod learned;
mod place;
pub mod safeguard;
pub mod solve;
pub mod stays;

#[cfg(test)]
mod tests;
