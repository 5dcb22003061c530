use super::super::trace::{Op, SizeUnknown, TraceBuilder, Traced};
use super::*;
use crate::tiering::cost::tests::{times, us_east_1};
use crate::tiering::cost::{Prices, RestoreSpeed};
use crate::tiering::policy::guard::Copies;
use crate::tiering::storage_class::StorageClass;

const OBJECTS: u32 = 60;
const DAYS: u32 = 330;
const BYTES: u64 = 64 << 20;

/// Whether an object is read on a day, so many days after it was written.
type IsRead = fn(object: u32, day: u32) -> bool;

/// Ways to read a bucket, the hardest for whoever archives (what was cold is read together, or just after it went cold), and
/// what share of the reads may wait.
const WAYS: [(&str, f64, IsRead); 6] = [
    ("a few daily, the rest never", 0.02, |object, _| object < 6),
    ("all at once, late", 0.02, |object, day| (object < 6 && day < 150) || day == 250),
    ("all at once, late, and many may wait", 0.3, |object, day| (object < 6 && day < 150) || day == 250),
    ("all at once, every hundred days", 0.3, |_, day| day % 100 == 99),
    ("each for a month, and again when it was cold", 0.3, |object, day| day < 30 || day % 97 == object % 97),
    ("at random, ever more seldom", 0.3, |object, day| {
        let mixed = (u64::from(object) << 32 | u64::from(day)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        mixed % u64::from(1 + day / 3) == 0
    }),
];

fn trace(is_read: IsRead) -> Trace {
    let mut builder = TraceBuilder::default();
    for object in 0..OBJECTS {
        let key = format!("k{object}");
        let written = object % 10;
        let mut add = |day: u32, op| {
            let size = (op == Op::Put).then_some(BYTES);
            let time_secs = day * 86_400 + 60;
            builder.add(&Traced { bucket: "bucket", key: &key, time_secs, op, bytes: BYTES, size }).unwrap();
        };
        add(written, Op::Put);
        (1..DAYS - written).filter(|day| is_read(object, *day)).for_each(|day| add(written + day, Op::Get));
    }
    builder.finish(SizeUnknown::LeaveOut).unwrap().trace
}

fn tariff(prices: &Prices) -> Tariff<'_> {
    let copies = Copies { multipart_threshold_bytes: 5 << 30, part_bytes: 512 << 20 };
    Tariff { prices, copies, restore: RestoreSpeed::Standard, restore_days: 1, restored_class: StorageClass::Standard }
}

/// The bill, and after each period what the readers have gone through.
fn run(prices: &Prices, trace: &Trace, limit: f64) -> (Bill, Vec<Waits>) {
    let tariff = tariff(prices);
    let (min_object_bytes, follow) = (128 * 1024, Follow::Safeguard);
    let policy = Adaptive { trace, tariff, min_object_bytes, follow, max_delayed_reads: limit };
    let lessons = policy.lessons();
    let mut run = BucketRun::new(policy, &lessons, &trace.buckets[0], &[Cadence::Daily]);
    let mut waits = Vec::new();
    while run.period() {
        waits.extend(run.waits());
    }
    (run.finish().next().unwrap(), waits)
}

#[test]
fn the_share_of_reads_that_wait_stays_within_its_limit_however_a_bucket_is_read() {
    let prices = us_east_1();
    let (mut waited, mut cheaper) = (0, 0);
    for (way, limit, is_read) in WAYS {
        let trace = trace(is_read);
        let (alone, _) = run(&prices, &trace, 0.0);
        assert_eq!((alone.delayed_reads, alone.delayed_share()), (0, 0.0), "{way}");
        let (bill, waits) = run(&prices, &trace, limit);
        for waits in &waits {
            assert!(waits.share() <= limit, "{way}: {waits:?}");
        }
        assert!(bill.delayed_share() <= limit, "{way}: {}", bill.delayed_share());
        assert_eq!(waits.last().map(|it| (it.reads, it.waited)), Some((bill.read_days, bill.delayed_read_days)));
        waited += bill.delayed_reads;
        let ratio = bill.total().total_usd() / alone.total().total_usd();
        assert!(ratio < 1.05, "{way}: {ratio} times as dear as without");
        cheaper += u32::from(ratio < 0.95);
    }
    assert!(waited > 0, "it is not that nobody ever waits");
    assert!(cheaper >= 2, "it is not that nothing is ever archived: {cheaper}");
}

#[test]
fn doubled_prices_double_the_bill_and_archive_the_same() {
    let (once, twice) = (us_east_1(), times(&us_east_1(), 2.0));
    let trace = trace(WAYS[4].2);
    let ((a, waits), (b, same)) = (run(&once, &trace, 0.3), run(&twice, &trace, 0.3));
    assert_eq!((a.moves, a.delayed_reads, waits), (b.moves, b.delayed_reads, same));
    let (a, b) = (a.total().total_usd(), b.total().total_usd());
    assert!((b - 2.0 * a).abs() < 1e-9 * b, "{b} is not twice {a}");
}
