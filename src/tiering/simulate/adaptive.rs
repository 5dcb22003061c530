//! The adaptive policy over a trace: all buckets together, a period of 30 days after the other, because at the end of each the
//! policy learns from all of them.

use super::account::{Bill, Held, PERIOD_DAYS, Tariff};
use super::replay::{Answer, Cadence, Course, ObjectState};
use super::trace::Trace;
use crate::tiering::adaptive::hazard::Hazards;
use crate::tiering::adaptive::learned::{Learned, View};
use crate::tiering::adaptive::safeguard::Safeguard;
use crate::tiering::adaptive::solve::Rules;
use crate::tiering::evidence::{Day, IdleTable};
use crate::tiering::storage_class::StorageClass;

/// At most so many objects of a bucket are shadowed.
const SHADOWED: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expert {
    Standard,
    Intelligent,
    Learned { narrow: bool, factor: f64 },
}

pub const EXPERTS: [Expert; 5] = [
    Expert::Standard,
    Expert::Intelligent,
    Expert::Learned { narrow: true, factor: 1.0 },
    Expert::Learned { narrow: false, factor: 1.0 },
    Expert::Learned { narrow: false, factor: 3.0 },
];

struct Bucket {
    closed: IdleTable,
    learned: Vec<Option<Learned>>,
    safeguard: Safeguard,
    /// By expert, the states of the shadowed objects.
    shadows: Vec<Vec<ObjectState>>,
    step: usize,
}

pub fn run(
    trace: &Trace,
    tariff: Tariff<'_>,
    cadence: Cadence,
    min_bytes: u64,
    log: Option<&mut Vec<String>>,
    fixed: Option<usize>,
) -> Bill {
    let mut log = log;
    let mut states = vec![ObjectState::default(); trace.objects()];
    let mut course = Course::new(tariff, cadence);
    let mut buckets: Vec<Bucket> = trace
        .buckets
        .iter()
        .map(|bucket| {
            let step = (bucket.end - bucket.first).div_ceil(SHADOWED);
            let count = (bucket.end - bucket.first).div_ceil(step);
            Bucket {
                closed: IdleTable::default(),
                learned: Vec::new(),
                safeguard: Safeguard::new(EXPERTS.len(), fixed.unwrap_or(2)),
                shadows: vec![vec![ObjectState::default(); count]; EXPERTS.len()],
                step,
            }
        })
        .collect();
    let mut from = 0;
    while from < trace.days {
        let to = trace.days.min(from + PERIOD_DAYS);
        // Learn.
        let mut tables = Vec::new();
        let mut pooled = IdleTable::default();
        for (bucket, place) in buckets.iter().zip(&trace.buckets) {
            let mut table = bucket.closed.clone();
            for state in &states[place.first..place.end] {
                if state.held.is_some() {
                    table.add_open(&state.evidence, Day::from(from));
                }
            }
            pooled.merge(&table);
            tables.push(table);
        }
        let general = Hazards::prior().learned(&pooled);
        for (bucket, table) in buckets.iter_mut().zip(&tables) {
            let hazards = general.learned(table);
            let mut before = std::mem::take(&mut bucket.learned).into_iter();
            bucket.learned = EXPERTS
                .iter()
                .map(|expert| {
                    let before = before.next().flatten();
                    match expert {
                        Expert::Learned { narrow, factor } => {
                            let classes = if *narrow {
                                vec![StorageClass::Standard, StorageClass::IntelligentTiering]
                            } else {
                                vec![
                                    StorageClass::Standard,
                                    StorageClass::IntelligentTiering,
                                    StorageClass::StandardIa,
                                    StorageClass::GlacierIr,
                                ]
                            };
                            let rules = Rules {
                                classes,
                                delayed_read_usd: 0.0,
                                restore: tariff.restore,
                                restore_days: tariff.restore_days,
                            };
                            Some(Learned::new(tariff.prices, hazards.scaled(*factor), rules, before))
                        }
                        _ => None,
                    }
                })
                .collect();
        }
        // Go on.
        for (bucket, place) in buckets.iter_mut().zip(&trace.buckets) {
            let expert = bucket.safeguard.following();
            std::mem::swap(&mut course.closed, &mut bucket.closed);
            for object in place.first..place.end {
                // A plan that is new asks anew.
                states[object].ask_from(cadence.run_from(from));
                course.advance(&mut states[object], trace.events_of(object), to, |day, state, held| {
                    answer(EXPERTS[expert], bucket.learned[expert].as_ref(), day, state, held, min_bytes)
                });
            }
            std::mem::swap(&mut course.closed, &mut bucket.closed);
            let (mut costs, mut ahead) = (Vec::new(), Vec::new());
            for (expert, shadows) in bucket.shadows.iter_mut().enumerate() {
                let mut shadow = Course::new(tariff, cadence);
                for (i, state) in shadows.iter_mut().enumerate() {
                    let object = place.first + i * bucket.step;
                    state.ask_from(cadence.run_from(from));
                    shadow.advance(state, trace.events_of(object), to, |day, state, held| {
                        answer(EXPERTS[expert], bucket.learned[expert].as_ref(), day, state, held, min_bytes)
                    });
                }
                costs.push(shadow.bill.total().total_usd());
                let judge = bucket.learned[3].as_ref().expect("learned above");
                ahead.push(
                    shadows
                        .iter()
                        .filter_map(|state| {
                            let held = state.held.filter(|held| held.bytes >= min_bytes)?;
                            let class_since = Day::from(held.since);
                            let view =
                                View { class: held.class, bytes: held.bytes, class_since, evidence: &state.evidence };
                            judge.future_usd(&view, Day::from(to))
                        })
                        .sum::<f64>(),
                );
            }
            if fixed.is_none() {
                bucket.safeguard.learn(&costs, &ahead);
            }
            if let Some(log) = log.as_mut() {
                if from % 240 == 0 && std::env::var("DUMP").is_ok() {
                    let learned = bucket.learned[3].as_ref().unwrap();
                    let evidence = crate::tiering::evidence::ObjectEvidence::default();
                    let view =
                        View { class: StorageClass::Standard, bytes: 3 << 20, class_since: 0, evidence: &evidence };
                    let plan = learned.plan(&view);
                    for class in 0..8 {
                        use crate::tiering::adaptive::solve::Place;
                        let row = |p| {
                            (0..23)
                                .map(|b| match plan.best(p, b, class) {
                                    StorageClass::Standard => 'S',
                                    StorageClass::IntelligentTiering => 'T',
                                    StorageClass::StandardIa => 'A',
                                    StorageClass::GlacierIr => 'G',
                                    _ => '?',
                                })
                                .collect::<String>()
                        };
                        let h: Vec<String> =
                            (0..23).map(|b| format!("{:.4}", learned.hazards().read(class, b))).collect();
                        log.push(format!(
                            "{from} class {class} S:{} T:{} A:{} G:{} h {}",
                            row(Place::Standard),
                            row(Place::Intelligent),
                            row(Place::StandardIaOld),
                            row(Place::GlacierIrOld),
                            h.join(" ")
                        ));
                    }
                }
                log.push(format!("{} {from} {:?} -> {}", place.name.as_str(), costs, bucket.safeguard.following()));
            }
        }
        from = to;
    }
    course.bill
}

fn answer(
    expert: Expert,
    learned: Option<&Learned>,
    day: u16,
    state: &ObjectState,
    held: &Held,
    min_bytes: u64,
) -> Answer {
    if held.bytes < min_bytes {
        return Answer::LEAVE;
    }
    let served = held.since.saturating_add(held.class.minimum_days() as u16);
    if day < served {
        return Answer { to: None, again: served };
    }
    match (expert, learned) {
        (Expert::Standard, _) if held.class == StorageClass::Standard => Answer::LEAVE,
        (Expert::Standard, _) => Answer { to: Some(StorageClass::Standard), again: u16::MAX },
        (Expert::Intelligent, _) => Answer { to: Some(StorageClass::IntelligentTiering), again: u16::MAX },
        (_, Some(learned)) => {
            let view = View {
                class: held.class,
                bytes: held.bytes,
                class_since: Day::from(held.since),
                evidence: &state.evidence,
            };
            let choice = learned.choose(&view, Day::from(day));
            let to = (choice.target != held.class).then_some(choice.target);
            Answer { to, again: u16::try_from(choice.until).unwrap_or(u16::MAX) }
        }
        (_, None) => Answer::LEAVE,
    }
}
