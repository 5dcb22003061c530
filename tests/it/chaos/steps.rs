//! A history: what users, operators and the machine room do, one step after another. A seed makes one; each step stands by
//! itself, so that any part of a history is a history too.

use super::faults::Dice;

/// How an object is asked back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By so many equal messages.
    Messages(u8),
    /// By `tierd restore`.
    Command,
}

/// One step. Users and objects are numbers; an object that is not there (any more) is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next user signs up.
    SignUp,
    /// The user's row is deleted.
    Leave {
        user: u8,
    },
    /// Writes an object, anew or over what is there; `days_ago` is when the log will say that it was.
    Put {
        user: u8,
        object: u8,
        kib: u8,
        days_ago: u16,
        archived: bool,
    },
    Delete {
        user: u8,
        object: u8,
    },
    /// Reads an object, now, and has the log tell of it as `days_ago`.
    Read {
        user: u8,
        object: u8,
        days_ago: u16,
    },
    /// Delivers the log of what was done so far, but for every `late`th event; published so many days ago.
    Deliver {
        published_days_ago: u8,
        late: u8,
    },
    /// Delivers a log file once more, under its own name.
    DeliverAgain {
        file: u8,
    },
    Restore {
        user: u8,
        object: u8,
        by: By,
    },
    /// `tierd job NAME` beside the daemon, killed after a while or never.
    Job {
        name: &'static str,
        killed_after_ms: Option<u16>,
    },
    /// SIGKILL, and a new start after a while.
    Kill {
        daemon: u8,
        down_ms: u16,
    },
    /// Logs are delivered and counted, and amid the rows everything dies at once; daemons start again after a while.
    PowerCut {
        /// At which row of the ledger.
        row: u8,
        down_ms: u16,
    },
    Weather {
        faults_per_mille: u16,
    },
    Rest {
        ms: u16,
    },
}

/// Users of a history, at most.
pub const USERS: u8 = 8;
const OBJECTS: u8 = 8;
const AGES: [u16; 6] = [0, 3, 45, 60, 120, 150];

/// The history of a seed.
pub fn steps(seed: u64, length: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed ^ 0x5eed);
    let mut steps = vec![Step::SignUp, Step::SignUp, Step::Weather { faults_per_mille: 40 }];
    steps.extend((0..2).flat_map(|user| (0..3).map(move |object| put(user, object))));
    while steps.len() < length {
        steps.push(any(&mut dice));
    }
    steps
}

fn put(user: u8, object: u8) -> Step {
    Step::Put { user, object, kib: 1 + object, days_ago: 60 + 40 * u16::from(object), archived: object == 2 }
}

fn any(dice: &mut Dice) -> Step {
    let user = dice.below(u64::from(USERS)) as u8;
    let object = dice.below(u64::from(OBJECTS)) as u8;
    let days_ago = dice.pick(&AGES);
    match dice.below(100) {
        0..6 => Step::SignUp,
        6..10 => Step::Leave { user },
        10..28 => Step::Put { user, object, kib: 1 + dice.below(9) as u8, days_ago, archived: dice.one_in(3) },
        28..33 => Step::Delete { user, object },
        33..49 => Step::Read { user, object, days_ago },
        49..58 => Step::Deliver { published_days_ago: dice.pick(&[0, 0, 1, 6, 20]), late: dice.pick(&[0, 2, 3]) },
        58..61 => Step::DeliverAgain { file: dice.below(8) as u8 },
        61..73 => {
            let by = if dice.one_in(6) { By::Command } else { By::Messages(1 + dice.below(3) as u8) };
            Step::Restore { user, object, by }
        }
        73..83 => Step::Job {
            name: dice.pick(&["ingest", "ingest", "reconcile", "transition", "transition", "sweep"]),
            killed_after_ms: if dice.one_in(2) { Some(200 + dice.below(2500) as u16) } else { None },
        },
        83..89 => Step::Kill { daemon: dice.below(2) as u8, down_ms: dice.below(1500) as u16 },
        89..94 => Step::Weather { faults_per_mille: dice.pick(&[0, 20, 60, 120, 250]) },
        94..97 => Step::PowerCut { row: dice.below(3) as u8, down_ms: dice.below(1500) as u16 },
        _ => Step::Rest { ms: 200 + dice.below(1500) as u16 },
    }
}
