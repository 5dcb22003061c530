//! `tierd plan`, `apply` and `explain` as people run them: what is planned is what is moved, what has changed since is left
//! alone, and looking changes nothing.

use std::collections::BTreeMap;
use std::process::{Output, Stdio};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_s3::types::{BucketVersioningStatus, Tag, Tagging, VersioningConfiguration};
use chrono::TimeDelta;
use serde_json::{Value, json};
use tierd::clock::{now_secs, rfc3339};
use tierd::state::lease::Taken;
use tokio::io::AsyncWriteExt;

use crate::harness;
use crate::proxy::Proxy;
use crate::reconcile::{read_row, row};
use crate::world::World;

/// Guards that would only be in the way of what is tested here.
const OPEN: &str = "
transition.respect_minimum_duration = false
transition.require_recent_ingest = \"0d\"
";

const MIB: usize = 1 << 20;

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// An object and its row, used so many times, the last time so many days ago.
async fn object(world: &World, bucket: &str, key: &str, size: usize, class: &str, uses: u64, days_ago: i64) {
    let etag = world.put(bucket, key, size, class).await;
    let at = rfc3339(now_secs() - TimeDelta::days(days_ago));
    let since = rfc3339(now_secs() - TimeDelta::days(400));
    let (uses, size) = (uses.to_string(), size.to_string());
    let columns = [
        ("count", uses.as_str()),
        ("event_time", &at),
        ("entity_tag_value", &etag),
        ("storage_class", class),
        ("size", &size),
        ("class_since", &since),
    ];
    row(world, bucket, key, &columns).await;
}

async fn class_of(world: &World, bucket: &str, key: &str) -> String {
    let head = world.s3().head_object().bucket(bucket).key(key).send().await.expect("an object");
    head.storage_class.map_or("STANDARD".to_owned(), |class| class.as_str().to_owned())
}

/// Five objects of which recency wants three elsewhere, and a guard keeps one of those two that are left.
async fn some_objects(world: &World) -> String {
    let bucket = world.bucket("b").await;
    object(world, &bucket, "a b+한글", MIB, "STANDARD", 3, 45).await;
    object(world, &bucket, "cold", 2 * MIB, "STANDARD", 1, 200).await;
    object(world, &bucket, "cool", 3 * MIB, "STANDARD_IA", 2, 120).await;
    object(world, &bucket, "hot", MIB, "STANDARD", 9, 1).await;
    object(world, &bucket, "small", 1000, "STANDARD", 1, 45).await;
    bucket
}

async fn plan_to(world: &World, name: &str) -> (String, Vec<Value>) {
    let file = world.dir.path().join(name).display().to_string();
    let output = world.run(&["plan", "--out", &file]).await;
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    let lines = std::fs::read_to_string(&file).unwrap();
    (file, lines.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect())
}

#[tokio::test]
async fn a_plan_says_what_a_run_would_do_and_sends_nothing_that_changes_anything() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let world = World::steady_at(&proxy.endpoint, "planlooks", OPEN).await;
    let bucket = some_objects(&world).await;
    let state_before = world.app.state.history("transition").await.unwrap().len();
    proxy.take_requests();

    let file = world.dir.path().join("plan.jsonl").display().to_string();
    let (code, plan) = world.run_json(&["plan", "--out", &file]).await;
    let explained = world.run_json(&["explain", &format!("s3://{bucket}/cold")]).await;
    let text = world.run(&["plan"]).await;
    let operations: BTreeMap<String, u64> = proxy.take_requests().iter().fold(BTreeMap::new(), |mut all, request| {
        *all.entry(request.operation().to_owned()).or_default() += 1;
        all
    });
    let looks = ["DescribeTable", "GET", "GetItem", "HEAD", "LIST", "Query", "Scan"];
    assert!(operations.keys().all(|name| looks.contains(&name.as_str())), "{operations:?}");
    assert!(operations.contains_key("Query") && operations.contains_key("HEAD"), "{operations:?}");
    assert_eq!((code, explained.0), (0, 0), "{plan} {explained:?}");
    assert_eq!(world.app.state.history("transition").await.unwrap().len(), state_before, "no run was recorded");

    // The same figures as those of a dry run of the job, and the parts add up to the whole.
    let (_, dry) = world.run_json(&["job", "transition", "--dry-run"]).await;
    for name in ["policy", "considered", "planned", "skipped", "cost_usd", "monthly_saving_usd"] {
        assert_eq!(plan[name], dry[name], "{name}");
    }
    assert_eq!((&plan["considered"], &plan["planned"], &plan["in_place"]), (&json!(5), &json!(3), &json!(1)), "{plan}");
    assert_eq!(plan["skipped"], json!({"under-minimum-size": 1}));
    for parts in ["moves", "buckets"] {
        let sum =
            |name: &str| plan[parts].as_array().unwrap().iter().map(|part| part[name].as_f64().unwrap()).sum::<f64>();
        assert_eq!(sum("objects"), 3.0, "{parts}");
        assert!((sum("cost_usd") - plan["cost_usd"].as_f64().unwrap()).abs() < 1e-12, "{parts}");
        assert!((sum("monthly_saving_usd") - plan["monthly_saving_usd"].as_f64().unwrap()).abs() < 1e-12, "{parts}");
    }
    let pairs: Vec<(&str, &str)> = plan["moves"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| (pair["from"].as_str().unwrap(), pair["to"].as_str().unwrap()))
        .collect();
    assert_eq!(pairs, [("STANDARD", "STANDARD_IA"), ("STANDARD", "GLACIER"), ("STANDARD_IA", "GLACIER")]);

    let text = said(&text).0;
    for expected in
        ["STANDARD to STANDARD_IA", &bucket, "under-minimum-size", "saves a month", "prices: ap-northeast-1"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn what_is_planned_is_what_is_applied_and_only_once() {
    let world = World::steady("planapply", OPEN).await;
    let bucket = some_objects(&world).await;
    let (file, lines) = plan_to(&world, "plan.jsonl").await;
    assert_eq!(lines.len(), 3, "a move a line, and nothing else");
    let mut planned = BTreeMap::new();
    for line in &lines {
        for name in
            ["bucket", "key", "etag", "size", "from", "to", "policy", "reason", "cost_usd", "monthly_saving_usd"]
        {
            assert!(!line[name].is_null(), "{name} of {line}");
        }
        planned.insert(line["key"].as_str().unwrap(), line["to"].as_str().unwrap());
    }
    let wanted = [("a b+한글", "STANDARD_IA"), ("cold", "GLACIER"), ("cool", "GLACIER")];
    assert_eq!(planned, BTreeMap::from(wanted));

    let (code, dry) = world.run_json(&["apply", "--dry-run", &file]).await;
    assert_eq!(
        (code, &dry["dry_run"], &dry["moved"], &dry["planned"]),
        (0, &json!(true), &json!(0), &json!(3)),
        "{dry}"
    );
    assert_eq!(class_of(&world, &bucket, "cold").await, "STANDARD");

    let (code, report) = world.run_json(&["apply", &file]).await;
    assert_eq!((code, &report["job"], &report["moved"]), (0, &json!("transition"), &json!(3)), "{report}");
    assert_eq!((&report["policy"], &report["bytes_moved"]), (&json!("recency"), &json!(6 * MIB)), "{report}");
    for name in ["cost_usd", "monthly_saving_usd"] {
        assert_eq!(dry[name], report[name], "{name}");
        assert!(report[name].as_f64().unwrap() > 0.0, "{name}: {report}");
    }
    for (key, class) in wanted {
        assert_eq!(class_of(&world, &bucket, key).await, class, "{key}");
        assert_eq!(read_row(&world, &bucket, key).await.unwrap()["storage_class"], class, "{key}");
    }
    assert_eq!(class_of(&world, &bucket, "small").await, "STANDARD");

    let (code, again) = world.run_json(&["apply", &file]).await;
    assert_eq!((code, &again["moved"], &again["skipped"]), (0, &json!(0), &json!({"already-there": 3})), "{again}");
    assert_eq!(world.run_json(&["plan"]).await.1["planned"], 0);
}

#[tokio::test]
async fn what_has_changed_since_the_plan_is_left_alone_and_named() {
    let world = World::steady("planchanged", OPEN).await;
    let bucket = some_objects(&world).await;
    object(&world, &bucket, "as planned", MIB, "STANDARD", 1, 45).await;
    let whole = world.bucket("whole").await;
    object(&world, &whole, "k", MIB, "STANDARD", 1, 45).await;
    let (file, _) = plan_to(&world, "plan.jsonl").await;
    world.put(&bucket, "a b+한글", MIB + 1, "STANDARD").await;
    world.put(&bucket, "cool", 3 * MIB, "GLACIER_IR").await;
    world.s3().delete_object().bucket(&bucket).key("cold").send().await.unwrap();

    world.s3().delete_object().bucket(&whole).key("k").send().await.unwrap();
    world.s3().delete_bucket().bucket(&whole).send().await.unwrap();

    let expected = json!({"changed": 2, "gone": 2});
    let (code, dry) = world.run_json(&["apply", "--dry-run", &file]).await;
    assert_eq!((code, &dry["moved"], &dry["skipped"]), (0, &json!(0), &expected), "{dry}");
    let output = world.run(&["apply", &file, "--json"]).await;
    let (stdout, log) = said(&output);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (output.status.code(), &report["moved"], &report["skipped"]),
        (Some(0), &json!(1), &expected),
        "{report}"
    );
    assert_eq!(report["cost_usd"], dry["cost_usd"]);
    for key in ["a b+한글", "cool", "cold"] {
        assert!(log.lines().any(|line| line.contains("object.skipped") && line.contains(key)), "{key}: {log}");
    }
    assert_eq!(class_of(&world, &bucket, "a b+한글").await, "STANDARD");
    assert_eq!(class_of(&world, &bucket, "cool").await, "GLACIER_IR");
}

#[tokio::test]
async fn a_plan_that_cannot_be_read_to_its_end_moves_nothing() {
    let world = World::steady("planbroken", OPEN).await;
    let bucket = some_objects(&world).await;
    let (file, _) = plan_to(&world, "plan.jsonl").await;
    let good = std::fs::read_to_string(&file).unwrap();
    let cases = [
        (format!("{good}{{\"bucket\": \"b\"\n"), "line 4 is no move"),
        (good.replacen("\"to\":\"GLACIER\"", "\"to\":\"REDUCED_REDUNDANCY\"", 1), "there is no move from"),
        (good.replacen("\"tierd_plan\":1", "\"tierd_plan\":7", 1), "line 1 has format version 7"),
        (good.replace('\n', " "), "line 1 is no move"),
        ("{\"Records\": []}".to_owned(), "line 1 is no move: missing field `tierd_plan`"),
    ];
    for (text, expected) in cases {
        std::fs::write(&file, &text).unwrap();
        let output = world.run(&["apply", &file]).await;
        let (_, stderr) = said(&output);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.contains(&file) && stderr.contains(expected), "{expected}: {stderr}");
        assert!(stderr.contains("nothing was moved"), "{stderr}");
    }
    assert_eq!(world.run(&["apply", "/nowhere/plan"]).await.status.code(), Some(64));
    std::fs::write(&file, "").unwrap();
    let (code, report) = world.run_json(&["apply", &file]).await;
    assert_eq!(
        (code, &report["considered"], &report["moved"]),
        (0, &json!(0), &json!(0)),
        "a plan of nothing: {report}"
    );
    for key in ["a b+한글", "cold"] {
        assert_eq!(class_of(&world, &bucket, key).await, "STANDARD", "{key}");
    }
    let elsewhere = world.dir.path().join("nowhere/plan").display().to_string();
    assert_eq!(world.run(&["plan", "--out", &elsewhere]).await.status.code(), Some(1));
}

#[tokio::test]
async fn guards_and_caps_of_the_day_hold_for_a_plan_of_the_day_before() {
    let mut world = World::steady("planguards", OPEN).await;
    let bucket = some_objects(&world).await;
    let versioned = world.bucket("v").await;
    object(&world, &versioned, "k", MIB, "STANDARD", 1, 45).await;
    let (file, _) = plan_to(&world, "plan.jsonl").await;
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    world.s3().put_bucket_versioning().bucket(&versioned).versioning_configuration(enabled).send().await.unwrap();
    world.reconfigure(&format!("{OPEN}\ntransition.max_bytes = \"4MiB\"\n")).await;

    let (code, report) = world.run_json(&["apply", &file]).await;
    assert_eq!(code, 0, "{report}");
    assert_eq!(report["skipped"], json!({"cap-reached": 1, "versioned": 1}), "{report}");
    assert_eq!((&report["considered"], &report["planned"], &report["moved"]), (&json!(4), &json!(3), &json!(2)));
    assert_eq!(class_of(&world, &bucket, "cool").await, "STANDARD_IA", "3 MiB did not fit beside 3 MiB");
    assert_eq!(class_of(&world, &versioned, "k").await, "STANDARD");
}

#[tokio::test]
async fn a_plan_is_held_against_the_rows_and_guards_of_today() {
    let proxy = Proxy::start(harness::endpoint()).await;
    let mut world = World::steady_at(&proxy.endpoint, "planrecheck", OPEN).await;
    let bucket = some_objects(&world).await;
    for key in ["late log", "as planned", "young", "forgotten"] {
        object(&world, &bucket, key, MIB, "STANDARD_IA", 2, 120).await;
    }
    object(&world, &bucket, "wanted", MIB, "STANDARD_IA", 5, 2).await;
    let (file, lines) = plan_to(&world, "plan.jsonl").await;
    assert_eq!(lines.len(), 8, "{lines:?}");

    let set = async |key: &str, column: &str, value: &str| {
        let mut columns = read_row(&world, &bucket, key).await.expect("a row");
        columns.insert(column.to_owned(), value.to_owned());
        let columns: Vec<_> = columns.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        row(&world, &bucket, key, &columns).await;
    };
    let days_ago = |days| rfc3339(now_secs() - TimeDelta::days(days));
    // An ingest since has seen uses: of yesterday, of before the last one that was known, and of an object that is to come back.
    set("cold", "count", "2").await;
    set("cold", "event_time", &days_ago(1)).await;
    set("late log", "count", "3").await;
    set("wanted", "count", "6").await;
    // And it has been moved there and back.
    set("young", "class_since", &days_ago(3)).await;
    let forget = world.dynamodb().delete_item().table_name(&world.settings().ledger.table);
    let key = |text: &str| AttributeValue::S(text.to_owned());
    forget.key("bucket_name", key(&bucket)).key("object_key", key("forgotten")).send().await.unwrap();
    let stricter = "transition.min_object_size = \"1536KiB\"\ntransition.require_recent_ingest = \"0d\"\n";
    world.reconfigure(stricter).await;
    proxy.take_requests();

    let expected = json!({"used-since-planned": 2, "gone": 1, "under-minimum-size": 4});
    let (code, dry) = world.run_json(&["apply", "--dry-run", &file]).await;
    assert_eq!((code, &dry["skipped"]), (0, &expected), "{dry}");
    world.reconfigure("transition.require_recent_ingest = \"0d\"\n").await;
    let expected = json!({"used-since-planned": 2, "gone": 1, "minimum-duration": 1});
    let output = world.run(&["apply", &file, "--json"]).await;
    let (stdout, log) = said(&output);
    let report: Value = serde_json::from_str(&stdout).expect("a report");
    assert_eq!((&report["skipped"], &report["considered"]), (&expected, &json!(8)), "{report}");
    assert_eq!((&report["moved"], &report["planned"]), (&json!(4), &json!(4)), "{report}");
    let skipped = |key: &str| log.lines().any(|line| line.contains("object.skipped") && line.contains(key));
    assert!(["cold", "late log", "young", "forgotten"].into_iter().all(skipped), "{log}");
    for (key, class) in
        [("cold", "STANDARD"), ("late log", "STANDARD_IA"), ("young", "STANDARD_IA"), ("wanted", "STANDARD")]
    {
        assert_eq!(class_of(&world, &bucket, key).await, class, "{key}");
    }
    let looks = proxy.take_requests().iter().filter(|request| request.operation() == "BatchGetItem").count();
    assert_eq!(looks, 2, "rows are read together");
}

#[tokio::test]
async fn a_plan_comes_by_a_pipe_as_well_and_waits_for_nobody() {
    let world = World::steady("planpipe", OPEN).await;
    let bucket = some_objects(&world).await;
    let (file, _) = plan_to(&world, "plan.jsonl").await;
    let Taken::Mine(lease) = world.app.state.take_lease("job#transition").await.unwrap() else { panic!("it is free") };
    assert_eq!(world.run(&["apply", &file]).await.status.code(), Some(75));
    lease.release().await.unwrap();

    // Only what was sifted out.
    let text = std::fs::read_to_string(&file).unwrap();
    let sifted: String =
        text.lines().filter(|line| !line.contains("GLACIER")).map(|line| format!("{line}\n")).collect();
    let mut command = world.tierd(&["apply", "-", "--json"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(sifted.as_bytes()).await.unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    assert_eq!(serde_json::from_str::<Value>(&said(&output).0).unwrap()["moved"], 1);
    assert_eq!(class_of(&world, &bucket, "cold").await, "STANDARD");
}

#[tokio::test]
async fn an_object_is_explained_under_each_policy() {
    let world = World::steady("planexplain", OPEN).await;
    let bucket = some_objects(&world).await;
    let tag = Tag::builder().key("RestoreRequested").value("true").build().unwrap();
    let tagging = Tagging::builder().tag_set(tag).build().unwrap();
    world.s3().put_object_tagging().bucket(&bucket).key("cold").tagging(tagging).send().await.unwrap();

    let uri = |key: &str| format!("s3://{bucket}/{key}");
    let (code, cold) = world.run_json(&["explain", &uri("cold")]).await;
    assert_eq!(code, 0, "{cold}");
    assert_eq!((&cold["ledger"]["count"], &cold["ledger"]["differs"]), (&json!(1), &Value::Null), "{cold}");
    assert_eq!((&cold["s3"]["state"], &cold["versioning"]), (&json!("found"), &json!("never")), "{cold}");
    assert_eq!(cold["s3"]["restore_tag"], json!({"RestoreRequested": "true"}));
    let policy = |of: &Value, name: &str| -> Value {
        of["policies"].as_array().unwrap().iter().find(|one| one["policy"] == name).expect("a policy").clone()
    };
    let recency = policy(&cold, "recency");
    assert_eq!(
        (&recency["holds"], &recency["wants"], &recency["does"]),
        (&json!(true), &json!("GLACIER"), &json!("move"))
    );
    assert_eq!(recency["reason"], "last used 200 days ago: GLACIER from day 91");
    let months = recency["move"]["months_to_break_even"].as_f64().unwrap();
    let (cost, saving) =
        (recency["move"]["cost_usd"].as_f64().unwrap(), recency["move"]["monthly_saving_usd"].as_f64().unwrap());
    assert!((months - cost / saving).abs() < 1e-9 && months > 0.0, "{recency}");
    // Ranks: hot (9), a b (3), cool (2), cold (1, 200 days), small (1, 45 days): the top half of five is three.
    let frequency = policy(&cold, "frequency");
    assert_eq!((&frequency["wants"], &frequency["holds"]), (&json!("STANDARD_IA"), &json!(false)), "{frequency}");
    assert_eq!(frequency["reason"], "1 use counted: not in the top 3 of 5 objects of the bucket");
    let cool = policy(&world.run_json(&["explain", &uri("cool")]).await.1, "frequency");
    assert_eq!((&cool["wants"], &cool["does"]), (&json!("STANDARD"), &json!("move")), "{cool}");

    // The plan says of each object what its explanation says.
    let (_, lines) = plan_to(&world, "plan.jsonl").await;
    for line in &lines {
        let (_, explained) = world.run_json(&["explain", &uri(line["key"].as_str().unwrap())]).await;
        let recency = policy(&explained, "recency");
        assert_eq!((&recency["does"], &recency["wants"]), (&json!("move"), &line["to"]), "{line}");
        assert_eq!((&recency["reason"], &recency["move"]["cost_usd"]), (&line["reason"], &line["cost_usd"]), "{line}");
    }
    let small = world.run_json(&["explain", &uri("small")]).await.1;
    let recency = policy(&small, "recency");
    assert_eq!(recency["does"], "skip");
    let reasons: Vec<&str> =
        recency["against"].as_array().unwrap().iter().map(|a| a["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["under-minimum-size", "no-saving"], "every guard that is against it, not only the first");
    assert!(small["conclusion"].as_str().unwrap().contains("1000 bytes are under the minimum of 131072"), "{small}");
    let hot = world.run_json(&["explain", &uri("hot")]).await.1;
    assert_eq!(policy(&hot, "recency")["does"], "stay", "{hot}");

    let text = said(&world.run(&["explain", &uri("cold")]).await).0;
    for expected in [
        "1 use counted, the last on",
        "tagged RestoreRequested=true",
        "policy recency (holds for this bucket)",
        "last used 200 days ago: GLACIER from day 91",
        "paid back in",
        "under policy recency, moves it from STANDARD to GLACIER.",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_explained_as_such() {
    let world = World::steady("planabsent", "").await;
    let bucket = world.bucket("b").await;
    let uri = |key: &str| format!("s3://{bucket}/{key}");

    let output = world.run(&["explain", &uri("neither")]).await;
    assert_eq!(output.status.code(), Some(1), "{:?}", said(&output));
    assert!(said(&output).0.contains("Nothing is known of it"), "{:?}", said(&output));

    world.put(&bucket, "unknown to the ledger", 10, "STANDARD").await;
    let output = world.run(&["explain", &uri("unknown to the ledger")]).await;
    assert_eq!(output.status.code(), Some(0), "{:?}", said(&output));
    let text = said(&output).0;
    assert!(text.contains("no row") && text.contains("reconcile.adopt = true"), "{text}");

    object(&world, &bucket, "gone", MIB, "STANDARD", 1, 45).await;
    world.s3().delete_object().bucket(&bucket).key("gone").send().await.unwrap();
    let (code, gone) = world.run_json(&["explain", &uri("gone")]).await;
    assert_eq!((code, &gone["s3"]["state"]), (0, &json!("missing")), "{gone}");
    let against = gone["policies"][0]["against"].as_array().unwrap();
    assert!(against.iter().any(|one| one["reason"] == "gone"), "{gone}");
    assert!(against.iter().any(|one| one["reason"] == "no-recent-ingest"), "{gone}");

    object(&world, &bucket, "other", MIB, "STANDARD", 1, 45).await;
    world.put(&bucket, "other", 7, "STANDARD").await;
    let other = world.run_json(&["explain", &uri("other")]).await.1;
    assert_eq!(other["ledger"]["differs"], "its ETag and its size, which is 7 bytes", "{other}");

    let no_bucket = format!("s3://{}/k", world.named("nobucket"));
    let output = world.run(&["explain", &no_bucket]).await;
    assert_eq!(output.status.code(), Some(69), "{:?}", said(&output));
    assert!(said(&output).0.contains("there is no bucket"), "{:?}", said(&output));
    for wrong in ["s3://bucket", "bucket/key", "s3://b/key"] {
        assert_eq!(world.run(&["explain", wrong]).await.status.code(), Some(64), "{wrong}");
    }
    world.dynamodb().delete_table().table_name(&world.settings().ledger.table).send().await.unwrap();
    for command in [&["plan"][..], &["explain", &uri("gone")]] {
        assert_eq!(world.run(command).await.status.code(), Some(69), "{command:?}");
    }
}

#[tokio::test]
async fn a_price_table_of_ones_own_is_what_plans_go_by() {
    let mut world = World::steady("planprices", OPEN).await;
    some_objects(&world).await;
    let before = world.run_json(&["plan"]).await.1;
    let table = include_str!("../../config/prices/ap-northeast-1.toml");
    // Every figure ten times as high, and years ago.
    let dear: String = table
        .lines()
        .map(|line| match line.split_once(" = ") {
            Some(("as_of", _)) => "as_of = \"2020-01-01\"\n".to_owned(),
            Some((key, rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => {
                let price: f64 = rest.split_whitespace().next().unwrap().parse().unwrap();
                format!("{key} = {:.6}\n", price * 10.0)
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let file = world.dir.path().join("prices.toml");
    std::fs::write(&file, dear).unwrap();
    world.reconfigure(&format!("{OPEN}\ntransition.prices_file = {:?}\n", file.display().to_string())).await;
    let after = world.run_json(&["plan"]).await.1;
    for name in ["cost_usd", "monthly_saving_usd"] {
        let ratio = after[name].as_f64().unwrap() / before[name].as_f64().unwrap();
        assert!((ratio - 10.0).abs() < 1e-6, "{name}: {ratio}");
    }
    assert_eq!((&after["planned"], &after["skipped"]), (&before["planned"], &before["skipped"]), "no decision changes");
    assert!(after["prices"]["warning"].as_str().unwrap().contains("over a year old"), "{after}");

    let output = world.run(&["check", "--offline"]).await;
    let (stdout, stderr) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("warning: the prices in") && stderr.contains("2020-01-01"), "{stderr}");
    assert!(!stdout.contains("warning"), "{stdout}");
    std::fs::write(&file, table.replace("[classes.GLACIER]", "[classes.ICE]")).unwrap();
    let output = world.run(&["plan"]).await;
    let (_, stderr) = said(&output);
    assert_eq!(output.status.code(), Some(78), "{stderr}");
    assert!(stderr.contains("transition.prices_file") && stderr.contains("classes.GLACIER"), "{stderr}");
}
