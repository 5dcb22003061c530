use proptest::prelude::*;

use super::super::account::Costs;
use super::super::trace::{Op, SizeUnknown, TraceBuilder, Traced};
use super::*;
use crate::tiering::cost::tests::{times, us_east_1};
use crate::tiering::policy::guard::Rule;

const GIB: u64 = 1 << 30;

/// An access: object, day, operation, bytes.
type Access = (usize, u32, Op, u64);

fn trace_of(accesses: &[Access]) -> Trace {
    let mut builder = TraceBuilder::default();
    for (object, day, op, bytes) in accesses {
        let key = format!("k{object}");
        let size = (*op == Op::Put).then_some(*bytes);
        let traced = Traced { bucket: "bucket", key: &key, time_secs: day * 86_400 + 60, op: *op, bytes: *bytes, size };
        builder.add(&traced).unwrap();
    }
    builder.finish(SizeUnknown::LeaveOut).unwrap().trace
}

fn guards() -> Guards {
    Guards::usual()
}

fn replay(prices: &Prices, trace: &Trace, policy: Replayed, cadence: Cadence) -> Bill {
    let guards = guards();
    let (recency, frequency) = (Recency::default(), Frequency::default());
    let setup = Setup::new(prices, &guards, &recency, &frequency);
    setup.replay(trace, policy, cadence)
}

fn check(bill: &Bill, expected: Costs) {
    let got = bill.total();
    for (name, of) in Costs::PARTS {
        assert!((of(&got) - of(&expected)).abs() < 1e-12, "{name}: {} instead of {}", of(&got), of(&expected));
    }
}

/// 130 days: a gigabyte that is read on day 100, and 64 KiB that come on the last day.
fn worked_example() -> Trace {
    trace_of(&[(0, 0, Op::Put, GIB), (0, 100, Op::Get, GIB), (1, 129, Op::Put, 64 * 1024)])
}

#[test]
fn all_in_standard_costs_what_it_comes_to_by_hand() {
    let bill = replay(&us_east_1(), &worked_example(), Replayed::Standard, Cadence::Daily);
    let gb_days = 130.0 + 1.0 / 16_384.0;
    let requests_usd = 2.0 * 0.000_005 + 0.000_000_4;
    check(&bill, Costs { storage_usd: gb_days / 30.0 * 0.023, requests_usd, ..Costs::default() });
    assert_eq!(bill.moves, 0);
}

#[test]
fn all_in_intelligent_tiering_costs_what_it_comes_to_by_hand() {
    let bill = replay(&us_east_1(), &worked_example(), Replayed::IntelligentTiering, Cadence::Daily);
    // A day in STANDARD; then frequent, infrequent and archive access, and from the read on frequent access again.
    let large = 1.0 * 0.023 + 30.0 * 0.023 + 60.0 * 0.0125 + 9.0 * 0.004 + 30.0 * 0.023;
    check(
        &bill,
        Costs {
            storage_usd: (large + 0.023 / 16_384.0) / 30.0,
            requests_usd: 3.0 * 0.000_005 + 0.000_000_4,
            monitoring_usd: 129.0 / 30.0 * 0.000_002_5,
            ..Costs::default()
        },
    );
    assert_eq!(bill.moves, 1);
}

#[test]
fn the_optimum_of_a_cold_object_that_is_deleted_costs_what_it_comes_to_by_hand() {
    // Never read and deleted after 50 days: 90 days of GLACIER_IR, which bills so many at least, cost 0.36 dollars, 49 of
    // STANDARD_IA 0.61.
    let trace = trace_of(&[(0, 0, Op::Put, GIB), (0, 50, Op::Delete, 0)]);
    let bill = replay(&us_east_1(), &trace, Replayed::Optimum, Cadence::Daily);
    check(
        &bill,
        Costs {
            storage_usd: (0.023 + 49.0 * 0.004) / 30.0,
            early_deletion_usd: 41.0 / 30.0 * 0.004,
            requests_usd: 0.000_005 + 0.000_02,
            ..Costs::default()
        },
    );
}

fn any_trace() -> impl Strategy<Value = Trace> {
    let object = (
        14.0..31.0_f64,
        0..200_u32,
        prop::collection::vec((0..200_u32, prop::sample::select(vec![0.1, 1.0])), 0..12),
        prop::option::of(1..200_u32),
    );
    prop::collection::vec(object, 1..12).prop_map(|objects| {
        let mut accesses: Vec<Access> = vec![(99, 399, Op::Put, 1 << 20)];
        for (i, (log_bytes, day, reads, deleted_after)) in objects.into_iter().enumerate() {
            let bytes = log_bytes.exp2() as u64;
            accesses.push((i, day, Op::Put, bytes));
            accesses.extend(
                reads.into_iter().map(|(after, share)| (i, day + after, Op::Get, (bytes as f64 * share) as u64)),
            );
            accesses.extend(deleted_after.map(|after| (i, day + after, Op::Delete, 0)));
        }
        trace_of(&accesses)
    })
}

/// Recency, asked about every object on every day.
fn recency_without_shortcuts(setup: &Setup<'_>, trace: &Trace) -> Bill {
    let mut ledger = Ledger::new(trace);
    setup.each_object(trace, Cadence::Daily, |day, state, held| {
        let row = ledger.row(state, held);
        let decision = setup.recency.decide(row, midnight(day));
        Answer { to: target_of(&setup.judge(row, decision, state, midnight(day))), again: day + 1 }
    })
}

/// Frequency over a trace of one bucket, with the guards asked about every object in every run.
fn frequency_without_shortcuts(setup: &Setup<'_>, trace: &Trace, cadence: Cadence) -> Bill {
    let (mut course, mut ledger) = (Course::new(setup.tariff(), cadence), Ledger::new(trace));
    let mut states = vec![ObjectState::default(); trace.objects()];
    for day in (cadence.days()..trace.days).step_by(cadence.days().into()) {
        let mut census = Census::default();
        for (object, state) in states.iter_mut().enumerate() {
            course.advance(state, trace.events_of(object), day, |_, _, _| Answer::LEAVE);
            if let Some(held) = &state.held {
                census.count(ledger.row(state, held));
            }
        }
        let mut cut = census.cut(setup.frequency);
        for state in &mut states {
            let Some(mut held) = state.held else { continue };
            let row = ledger.row(state, &held);
            let decision = cut.decide(row);
            if let Some(to) = target_of(&setup.judge(row, Some(decision), state, midnight(day))) {
                course.tariff.change_class(&mut held, day, to, &mut course.bill);
                state.held = Some(held);
            }
        }
    }
    for (object, state) in states.iter_mut().enumerate() {
        course.advance(state, trace.events_of(object), trace.days, |_, _, _| Answer::LEAVE);
    }
    states.iter_mut().for_each(|state| course.settle(state, trace.days));
    course.bill
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whoever_asks_about_every_object_in_every_run_is_told_the_same(
        trace in any_trace(),
        waived in any::<bool>(),
        max_payback_months in prop::option::of(1.0..12.0_f64),
        rest in prop::sample::select(vec![
            StorageClass::StandardIa, StorageClass::GlacierIr, StorageClass::IntelligentTiering, StorageClass::Glacier,
        ]),
    ) {
        let minimum_duration = if waived { Rule::Waived } else { Rule::Enforced };
        let guards = Guards { minimum_duration, max_payback_months, ..guards() };
        let recency = Recency::default();
        let frequency = Frequency::new(0.5, StorageClass::Standard, rest).unwrap();
        let prices = us_east_1();
        let setup = Setup::new(&prices, &guards, &recency, &frequency);
        prop_assert_eq!(setup.recency(&trace, Cadence::Daily), recency_without_shortcuts(&setup, &trace));
        for cadence in [Cadence::Daily, Cadence::Weekly] {
            prop_assert_eq!(setup.frequency(&trace, cadence), frequency_without_shortcuts(&setup, &trace, cadence));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, ..ProptestConfig::default() })]

    #[test]
    fn doubled_prices_double_every_bill_and_change_no_move(trace in any_trace()) {
        let (once, twice) = (us_east_1(), times(&us_east_1(), 2.0));
        for policy in Replayed::ALL {
            for cadence in if policy.has_cadence() { vec![Cadence::Daily, Cadence::Monthly] } else { vec![Cadence::Daily] } {
                let (a, b) = (replay(&once, &trace, policy, cadence), replay(&twice, &trace, policy, cadence));
                prop_assert_eq!((a.moves, a.delayed_reads), (b.moves, b.delayed_reads), "{} {:?}", policy, cadence);
                for (name, of) in Costs::PARTS {
                    let (a, b) = (of(&a.total()), of(&b.total()));
                    prop_assert!((b - 2.0 * a).abs() <= 1e-9 * a, "{policy} {name}: {b} is not twice {a}");
                }
            }
        }
    }

    #[test]
    fn nothing_costs_less_than_the_optimum(trace in any_trace()) {
        let prices = us_east_1();
        let least = replay(&prices, &trace, Replayed::Optimum, Cadence::Daily).total().total_usd();
        for policy in [Replayed::Standard, Replayed::IntelligentTiering, Replayed::Adaptive] {
            let usd = replay(&prices, &trace, policy, Cadence::Daily).total().total_usd();
            prop_assert!(usd >= least * (1.0 - 1e-9), "{policy} costs {usd}, and the optimum {least}");
        }
    }
}
