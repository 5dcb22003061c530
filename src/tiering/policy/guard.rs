//! The guards: what stands between a policy's wish and a move.
//!
//! A row that the policy wants elsewhere is either moved or skipped for a reason that reports, `explain` and plans all call
//! by the same name ([`super::objection::SkipReason`]). Guards are asked in a fixed order and the first that objects names the skip;
//! [`Bench::objections`] gives them all, for `explain`.
//!
//! | reason | holds for | because |
//! |---|---|---|
//! | `not-reconciled` | every move | what the object is (ETag, class, size) is not known yet |
//! | `no-last-use` | every move | the policy has nothing to go by |
//! | `unmanaged-class`, `impossible-move` | every move | S3 has no such move, or tierd does not do it |
//! | `under-minimum-size` | every move | small objects cost more to move than they save |
//! | `no-recent-ingest` | demotions | uses since the last good ingest are unseen |
//! | `logs-too-short` | demotions | the object is known from a listing only, and the logs do not reach back far enough |
//! | `minimum-duration` | every move | the rest of it is billed, whether the object stays or not |
//! | `archived` | moves out of an archive | a restore costs money and time: it must be asked for |
//! | `no-saving`, `payback-too-long` | demotions | it loses money, or earns it back too late |
//! | `reads-cost-more` | demotions | the reads that are to be expected ([`super::reads`]) cost more than the storage saves |
//!
//! A promotion is never refused for the price of its storage: it is wanted for reading. The other way round, an object that is
//! where its policy wants it, but is read so much that a copy to STANDARD pays within a month, is promoted: otherwise a
//! policy by rank or by age would leave it to be paid for by the gigabyte.

use chrono::{DateTime, TimeDelta, Utc};

use super::objection::Objection;
use super::reads::ExpectedReads;
use super::recency::elapsed_days;
use super::{Decision, Reason};
use crate::tiering::cost::{MoveCost, MoveQuestion, Prices, RestoreSpeed, Stored};
use crate::tiering::evidence::ObjectEvidence;
use crate::tiering::ledger_row::LedgerRow;
use crate::tiering::object::{ETag, ObjectId};
use crate::tiering::storage_class::{Move, StorageClass};

/// The guards' settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Guards {
    /// Objects below stay where they are.
    pub min_object_bytes: u64,
    pub minimum_duration: Rule,
    pub saving: Rule,
    /// Demotions that take more months to earn back their cost are skipped; None: any number will do.
    pub max_payback_months: Option<f64>,
    pub archived: Archived,
    /// How old the last good ingest may be. None asks for no evidence at all, neither this nor the logs' reach.
    pub require_recent_ingest: Option<TimeDelta>,
    pub copies: Copies,
    /// How archived objects are restored, for the price of it.
    pub restore: RestoreSpeed,
    /// For how many days.
    pub restore_days: u32,
    /// The class that they are copied back to.
    pub restored_class: StorageClass,
}

/// Whether a guard is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    Enforced,
    Waived,
}

/// What becomes of archived objects that a policy wants elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Archived {
    Leave,
    Restore,
}

/// When a copy goes in parts, for the number of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// Objects above go in parts.
    pub multipart_threshold_bytes: u64,
    pub part_bytes: u64,
}

impl Copies {
    /// Requests that copying `bytes` takes: one, or the parts and two more to begin and to complete them.
    pub fn requests(&self, bytes: u64) -> u64 {
        if bytes <= self.multipart_threshold_bytes { 1 } else { bytes.div_ceil(self.part_bytes.max(1)) + 2 }
    }
}

/// What is known of how well uses are seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// When an ingest last ended without any failure.
    pub last_ok_ingest: Option<DateTime<Utc>>,
    /// The time from which on the logs have been read without a gap.
    pub covered_since: Option<DateTime<Utc>>,
}

/// Everything that a judgement goes by besides the row and the policy's decision.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    pub now: DateTime<Utc>,
    pub guards: &'a Guards,
    pub evidence: Evidence,
    pub prices: &'a Prices,
}

/// What becomes of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Judgement {
    /// It is where the policy wants it.
    Stay(Decision),
    Move(Proposal),
    /// The policy wants it elsewhere (or has no decision), and a guard objects.
    Skip {
        decision: Option<Decision>,
        objection: Objection,
    },
}

/// A move that passed the guards.
#[derive(Debug, Clone, PartialEq)]
pub struct Proposal {
    pub id: ObjectId,
    pub etag: ETag,
    pub bytes: u64,
    pub from: StorageClass,
    /// [`Move::Copy`] or [`Move::RestoreThenCopy`].
    pub how: Move,
    pub decision: Decision,
    pub cost: MoveCost,
    /// Uses that were counted when the decision was made, and the last of them.
    pub uses: u64,
    pub last_use: Option<DateTime<Utc>>,
}

/// As much of a decision as the guards go by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    pub target: StorageClass,
    /// See [`Decision::rests_on_days`].
    pub rests_on_days: u32,
}

impl From<&Decision> for Wish {
    fn from(decision: &Decision) -> Self {
        Self { target: decision.target, rests_on_days: decision.rests_on_days }
    }
}

impl Bench<'_> {
    /// What becomes of `row`, of which the policy thinks `decision` (None: it has nothing to go by).
    pub fn judge(&self, row: &LedgerRow, decision: Option<Decision>) -> Judgement {
        self.judge_seen(row, decision, Some(&row.evidence))
    }

    /// The same, of an object of which it is known how it has been used.
    pub fn judge_seen(&self, row: &LedgerRow, decision: Option<Decision>, seen: Option<&ObjectEvidence>) -> Judgement {
        let decision = decision.map(|decision| self.promoted_for_reads(row, decision, seen));
        let mut first = None;
        let outcome = self.examine(row, decision.as_ref().map(Wish::from), seen, |objection| {
            first = Some(objection);
            Continue::No
        });
        match (outcome, decision, first) {
            (_, decision, Some(objection)) => Judgement::Skip { decision, objection },
            (Some((facts, how, cost)), Some(decision), None) => {
                let Facts { etag, class: from, bytes } = facts;
                Judgement::Move(Proposal {
                    id: row.id.clone(),
                    etag: etag.clone(),
                    bytes,
                    from,
                    how,
                    decision,
                    cost,
                    uses: row.count,
                    last_use: row.event_time,
                })
            }
            (_, Some(decision), None) => Judgement::Stay(decision),
            (_, None, None) => Judgement::Skip { decision: None, objection: Objection::NoLastUse },
        }
    }

    /// The first objection to a move of `row` that was decided before; None where the guards would still let it through.
    pub fn objection(&self, row: &LedgerRow, wish: Wish) -> Option<Objection> {
        let mut first = None;
        self.examine(row, Some(wish), Some(&row.evidence), |objection| {
            first = Some(objection);
            Continue::No
        });
        first
    }

    /// Every guard's objection, not only the first: empty for a row that stays or may move.
    pub fn objections(&self, row: &LedgerRow, decision: Option<&Decision>) -> Vec<Objection> {
        self.objections_seen(row, decision, Some(&row.evidence))
    }

    /// The same, of an object of which it is known how it has been used.
    pub fn objections_seen(
        &self,
        row: &LedgerRow,
        decision: Option<&Decision>,
        seen: Option<&ObjectEvidence>,
    ) -> Vec<Objection> {
        let mut all = Vec::new();
        self.examine(row, decision.map(Wish::from), seen, |objection| {
            all.push(objection);
            Continue::Yes
        });
        all
    }

    /// What bringing the row's object into `to` costs and saves, whatever the guards say. None where the object is not known
    /// yet, or S3 has no such move.
    pub fn cost(&self, row: &LedgerRow, to: StorageClass) -> Option<MoveCost> {
        let facts = Facts::of(row)?;
        let moves = !matches!(facts.class.move_to(to), Move::None | Move::Impossible);
        moves.then(|| self.prices.move_cost(&self.question(row, &facts, to)))?
    }

    /// Asks the guards in their order and tells `object` of each objection. Returns the move and its price if one is wanted,
    /// possible, and the guards were asked to the end.
    fn examine<'r>(
        &self,
        row: &'r LedgerRow,
        wish: Option<Wish>,
        seen: Option<&ObjectEvidence>,
        mut object: impl FnMut(Objection) -> Continue,
    ) -> Option<(Facts<'r>, Move, MoveCost)> {
        let Some(facts) = Facts::of(row) else {
            object(Objection::NotReconciled);
            return None;
        };
        let Some(wish) = wish else {
            object(Objection::NoLastUse);
            return None;
        };
        if facts.class == StorageClass::Unmanaged {
            object(Objection::UnmanagedClass);
            return None;
        }
        let (from, to) = (facts.class, wish.target);
        let how = from.move_to(to);
        if how == Move::None {
            return None;
        }
        let question = self.question(row, &facts, to);
        let Some(cost) = self.prices.move_cost(&question).filter(|_| how != Move::Impossible) else {
            object(Objection::ImpossibleMove { from, to });
            return None;
        };
        let guards = [
            self.size(&facts),
            self.recent_ingest(from, to),
            self.logs_reach(row, from, wish),
            self.minimum_duration(from, question.days_in_class),
            (how == Move::RestoreThenCopy && self.guards.archived == Archived::Leave)
                .then_some(Objection::Archived { class: from }),
            self.saving(from, to, &cost),
            self.reads(&facts, to, seen, &cost),
        ];
        for objection in guards.into_iter().flatten() {
            if object(objection) == Continue::No {
                return None;
            }
        }
        Some((facts, how, cost))
    }

    /// What a month's reads cost in `to` beyond what they cost in `from`.
    fn dearer_reads_usd(
        &self,
        facts: &Facts<'_>,
        from: StorageClass,
        to: StorageClass,
        seen: Option<&ObjectEvidence>,
    ) -> f64 {
        let expected = ExpectedReads::of(seen, facts.bytes, self.now);
        expected.monthly_usd(self.prices, to) - expected.monthly_usd(self.prices, from)
    }

    fn reads(
        &self,
        facts: &Facts<'_>,
        to: StorageClass,
        seen: Option<&ObjectEvidence>,
        cost: &MoveCost,
    ) -> Option<Objection> {
        if self.guards.saving == Rule::Waived || !facts.class.is_demotion_to(to) {
            return None;
        }
        let monthly_reads_usd = self.dearer_reads_usd(facts, facts.class, to, seen);
        let monthly_saving_usd = cost.monthly_saving_usd;
        // What saves nothing is refused for that already.
        (monthly_reads_usd > monthly_saving_usd.max(0.0))
            .then_some(Objection::ReadsCostMore { monthly_reads_usd, monthly_saving_usd })
    }

    /// The decision, or a promotion to STANDARD where the object is in the class that the policy wants, and its reads cost so
    /// much there that the move pays within a month. Only by evidence: a count says nothing of lately. Not out of an
    /// archive, which a read leaves anyway.
    fn promoted_for_reads(&self, row: &LedgerRow, decision: Decision, seen: Option<&ObjectEvidence>) -> Decision {
        let (class, standard) = (decision.target, StorageClass::Standard);
        if class == standard {
            return decision;
        }
        let facts = Facts::of(row).filter(|facts| facts.class == class && !class.is_archive());
        let (Some(facts), Some(_), Rule::Enforced) = (facts, seen, self.guards.saving) else { return decision };
        let Some(cost) = self.prices.move_cost(&self.question(row, &facts, standard)) else { return decision };
        let reads_usd = self.dearer_reads_usd(&facts, standard, class, seen);
        let saving_usd = -cost.monthly_saving_usd;
        if reads_usd - saving_usd <= cost.one_off_usd() {
            return decision;
        }
        Decision { target: standard, reason: Reason::ReadsCostMore { class, reads_usd, saving_usd }, ..decision }
    }

    fn question(&self, row: &LedgerRow, facts: &Facts<'_>, to: StorageClass) -> MoveQuestion {
        let days = |time: Option<DateTime<Utc>>| time.map(|time| elapsed_days(time, self.now));
        let days_in_class = days(row.class_since);
        let idle_days = days_in_class.unwrap_or(0).min(days(row.event_time).unwrap_or(0));
        MoveQuestion {
            from: Stored { class: facts.class, bytes: facts.bytes, idle_days },
            to,
            days_in_class,
            copy_requests: self.guards.copies.requests(facts.bytes),
            restore: self.guards.restore,
            restore_days: self.guards.restore_days,
        }
    }

    fn size(&self, facts: &Facts<'_>) -> Option<Objection> {
        let minimum_bytes = self.guards.min_object_bytes;
        (facts.bytes < minimum_bytes).then_some(Objection::UnderMinimumSize { bytes: facts.bytes, minimum_bytes })
    }

    fn recent_ingest(&self, from: StorageClass, to: StorageClass) -> Option<Objection> {
        let within = self.guards.require_recent_ingest.filter(|_| from.is_demotion_to(to))?;
        let last_ok = self.evidence.last_ok_ingest;
        let recent = last_ok.is_some_and(|last| self.now - last <= within);
        (!recent).then_some(Objection::NoRecentIngest { last_ok, within })
    }

    /// A row with a count has its last use from a log; what was only adopted may have been used before the logs begin. Unless
    /// it was written after that, or the decision does not look back so far.
    fn logs_reach(&self, row: &LedgerRow, from: StorageClass, wish: Wish) -> Option<Objection> {
        self.guards.require_recent_ingest?;
        if !from.is_demotion_to(wish.target) || !row.is_only_adopted() {
            return None;
        }
        let window = TimeDelta::days(i64::from(wish.rests_on_days));
        let window = self.now.checked_sub_signed(window).unwrap_or(DateTime::<Utc>::MIN_UTC);
        let needed_since = row.event_time.map_or(window, |written| written.max(window));
        let covered_since = self.evidence.covered_since;
        let reached = covered_since.is_some_and(|since| since <= needed_since);
        (!reached).then_some(Objection::LogsTooShort { covered_since, needed_since })
    }

    fn minimum_duration(&self, class: StorageClass, served_days: Option<u64>) -> Option<Objection> {
        let needed = u64::from(class.minimum_days());
        let served = needed == 0 || served_days.is_some_and(|days| days >= needed);
        (self.guards.minimum_duration == Rule::Enforced && !served)
            .then_some(Objection::MinimumDuration { class, served_days })
    }

    fn saving(&self, from: StorageClass, to: StorageClass, cost: &MoveCost) -> Option<Objection> {
        if !from.is_demotion_to(to) {
            return None;
        }
        let monthly_saving_usd = cost.monthly_saving_usd;
        match (cost.months_to_break_even(), self.guards.max_payback_months) {
            (None, _) if self.guards.saving == Rule::Enforced => Some(Objection::NoSaving { monthly_saving_usd }),
            (Some(months), Some(maximum_months)) if months > maximum_months => {
                Some(Objection::PaybackTooLong { months, maximum_months })
            }
            _ => None,
        }
    }
}

/// Whether the other guards are still to be asked.
#[derive(PartialEq, Eq)]
enum Continue {
    Yes,
    No,
}

/// What reconciliation has found out about the object.
struct Facts<'a> {
    etag: &'a ETag,
    class: StorageClass,
    bytes: u64,
}

impl<'a> Facts<'a> {
    fn of(row: &'a LedgerRow) -> Option<Self> {
        Some(Self { etag: row.etag.as_ref()?, class: row.class?, bytes: row.size? })
    }
}

#[cfg(test)]
impl Guards {
    /// Those of the default configuration, but that no log need be recent.
    pub fn usual() -> Self {
        const GIB: u64 = 1 << 30;
        Self {
            min_object_bytes: 128 * 1024,
            minimum_duration: Rule::Enforced,
            saving: Rule::Enforced,
            max_payback_months: None,
            archived: Archived::Leave,
            require_recent_ingest: None,
            copies: Copies { multipart_threshold_bytes: 5 * GIB, part_bytes: GIB / 2 },
            restore: RestoreSpeed::Standard,
            restore_days: 1,
            restored_class: StorageClass::Standard,
        }
    }
}

#[cfg(test)]
mod tests;
