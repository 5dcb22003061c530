//! `tierd simulate`: a trace in, bills out, and no AWS; or the configured logs in, and nothing written.

use std::io::Write;
use std::process::{Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::logs::{self, Access, put_log};
use crate::world::World;

async fn simulate(directory: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tierd"))
        .env_clear()
        .current_dir(directory)
        .arg("simulate")
        .args(args)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

/// A gigabyte that nobody reads for a year, and another that is read every day.
fn trace() -> String {
    let mut text = "time,bucket,key,op,bytes,size\n".to_owned();
    let day = |day: i64| 1_700_006_400 + day * 86_400;
    for key in ["cold", "hot"] {
        text += &format!("{},bucket,{key},PUT,1073741824,1073741824\n", day(0));
    }
    for i in (0..360).rev() {
        text += &format!("{},bucket,hot,GET,1073741824,\n", day(i) + 60);
    }
    text
}

#[tokio::test]
async fn a_trace_is_replayed_under_every_policy_without_a_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(trace().as_bytes()).unwrap();
    std::fs::write(directory.path().join("trace.csv.gz"), packed.finish().unwrap()).unwrap();
    let args = ["--trace", "trace.csv.gz", "--region", "us-east-1", "--json", "--out", "page.html"];
    let output = simulate(directory.path(), &args).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["objects"].as_u64(), report["days"].as_u64()), (Some(2), Some(360)));
    let policies = report["policies"].as_array().unwrap();
    let names: Vec<_> = policies.iter().map(|line| line["policy"].as_str().unwrap()).collect();
    assert_eq!(names, ["standard", "intelligent-tiering", "recency", "frequency", "adaptive", "optimum"]);
    let cost = |name: &str| policies.iter().find(|line| line["policy"] == name).unwrap()["cost_usd"].as_f64().unwrap();
    // Two gigabytes for twelve months, two PUTs, 360 GETs.
    let standard = 2.0 * 12.0 * 0.023 + 2.0 * 0.000_005 + 360.0 * 0.000_000_4;
    assert!((cost("standard") - standard).abs() < 1e-9, "{}", cost("standard"));
    // A day in STANDARD, a copy, and 359 days in GLACIER_IR instead.
    let optimum = standard - 359.0 / 30.0 * (0.023 - 0.004) + 0.000_02;
    assert!((cost("optimum") - optimum).abs() < 1e-9, "{}", cost("optimum"));
    assert!(names.iter().all(|name| cost(name) >= optimum - 1e-9));
    assert_eq!(report["other_cadences"].as_array().unwrap().len(), 6);
    let page = std::fs::read_to_string(directory.path().join("page.html")).unwrap();
    assert!(page.contains("Over time") && page.contains("</html>") && !page.contains("NaN"));
    assert!(!page.contains("<script") && !page.contains("http://") && !page.contains("src="));
}

#[tokio::test]
async fn where_reads_may_wait_the_cold_is_archived_and_the_output_says_who_may_use_archives() {
    let directory = tempfile::tempdir().unwrap();
    // Thirty gigabytes more that nobody reads, but for the last day, when all of them are.
    let mut text = trace();
    for key in 0..30 {
        text += &format!("1700006400,bucket,cold/{key},PUT,1073741824,1073741824\n");
        text += &format!("{},bucket,cold/{key},GET,1073741824,\n", 1_700_006_400 + 359 * 86_400);
    }
    std::fs::write(directory.path().join("trace.csv"), text).unwrap();
    let args = ["--trace", "trace.csv", "--region", "us-east-1", "--policy", "adaptive,optimum"];
    let report = async |more: &[&str]| -> Value {
        let output = simulate(directory.path(), &[&args[..], more, &["--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let alone = report(&[]).await;
    assert_eq!((&alone["max_delayed_reads"], &alone["optimum_has_archives"]), (&json!(0.0), &json!(false)));
    let archived = report(&["--max-delayed-reads", "0.05", "--out", "page.html"]).await;
    assert_eq!((&archived["max_delayed_reads"], &archived["optimum_has_archives"]), (&json!(0.05), &json!(true)));
    let line = |report: &Value, at: usize| report["policies"][at].clone();
    let [adaptive, optimum] = [line(&archived, 0), line(&archived, 1)];
    assert_eq!((&line(&alone, 0)["delayed_reads"], &line(&alone, 0)["delayed_share"]), (&json!(0), &json!(0.0)));
    // Of 390 days with a read.
    let (share, waited) = (adaptive["delayed_share"].as_f64().unwrap(), adaptive["delayed_reads"].as_u64().unwrap());
    assert!(waited > 0 && share <= 0.05 && (share * 390.0 - waited as f64).abs() < 1e-9, "{adaptive}");
    assert_eq!(optimum["delayed_reads"], 0, "it knows when to restore");
    let cost = |line: &Value| line["cost_usd"].as_f64().unwrap();
    assert!(cost(&adaptive) < cost(&line(&alone, 0)), "{adaptive} {alone}");
    assert!(cost(&optimum) < cost(&line(&alone, 1)) && cost(&optimum) < cost(&adaptive), "{optimum}");
    let page = std::fs::read_to_string(directory.path().join("page.html")).unwrap();
    assert!(page.contains("adaptive may use GLACIER and DEEP_ARCHIVE while no more than 5 % of"), "{page}");
    assert!(page.contains("Delayed share"), "{page}");

    let said = async |more: &[&str]| simulate(directory.path(), &[&args[..], more].concat()).await;
    let table = String::from_utf8(said(&[]).await.stdout).unwrap();
    assert!(table.contains("delayed share") && table.contains("use the classes that are read at once"), "{table}");
    let refused = said(&["--max-delayed-reads", "5"]).await;
    assert_eq!(refused.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("write a share from 0 to below 1"));
}

#[tokio::test]
async fn bad_lines_are_named_and_left_out_and_nothing_else_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let text = trace().replacen("PUT", "POST", 1) + "yesterday,bucket,hot,GET,1,\n";
    std::fs::write(directory.path().join("trace.csv"), text).unwrap();
    let output = simulate(directory.path(), &["--trace", "trace.csv", "--policy", "standard", "--json"]).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("trace.csv:2: left out: op is PUT, GET or DELETE, not \"POST\""), "{errors}");
    assert!(errors.contains("trace.csv:364: left out: time is RFC 3339"), "{errors}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((report["lines"].as_u64(), report["bad_lines"].as_u64()), (Some(361), Some(2)));
    assert_eq!(report["policies"].as_array().unwrap().len(), 1);

    std::fs::write(directory.path().join("none.csv"), "when,bucket,key,op,bytes,size\n").unwrap();
    let output = simulate(directory.path(), &["--trace", "none.csv"]).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("the header lacks the column \"time\""), "{errors}");
}

/// A world with a log bucket and a data bucket; gives their names.
async fn world_with_logs(test: &str) -> (World, String, String) {
    let mut world = World::steady(test, "").await;
    let (trail, data) = (world.bucket("trail").await, world.bucket("data").await);
    world.reconfigure(&format!("[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"{trail}\"")).await;
    (world, trail, data)
}

async fn rows_of(world: &World, table: &str) -> i32 {
    world.dynamodb().scan().table_name(table).send().await.unwrap().count
}

const DAYS: [&str; 4] = ["--since", "2024-01-01", "--until", "2024-06-30"];

#[tokio::test]
async fn the_configured_logs_give_what_a_trace_of_the_same_accesses_gives_and_nothing_is_written() {
    let (world, trail, data) = world_with_logs("simlogs").await;
    let mut all = vec![
        Access::new(1, "2024-01-02T10:00:00Z", &data, "cold", "PUT", 400_000_000),
        Access::new(2, "2024-01-02T10:00:00Z", &data, "hot", "PUT", 500_000_000),
        Access::new(3, "2024-01-20T10:00:00Z", &data, "short", "PUT", 300_000),
        Access::new(4, "2024-03-01T10:00:00Z", &data, "short", "DELETE", 0),
        // It was there before, and only half of it is read: the listing tells how large it is.
        Access { size: Some(300_000), ..Access::new(5, "2024-06-29T23:59:59Z", &data, "found", "GET", 150_000) },
    ];
    for i in 0..60 {
        let at = format!("2024-{:02}-{:02}T12:00:00Z", 2 + i / 28, 1 + i % 28);
        all.push(Access::new(100 + i, &at, &data, "hot", "GET", 500_000_000));
    }
    let before = Access::new(900, "2023-12-31T23:59:00Z", &data, "cold", "GET", 400_000_000);
    let after = Access::new(901, "2024-07-01T00:00:00Z", &data, "cold", "GET", 400_000_000);
    for (i, some) in all.chunks(10).enumerate() {
        // All are published late, the last ones after the last day that is asked for.
        let published = format!("2024-0{}-{}T00:05:00Z", 1 + i.min(6), if i < 6 { 28 } else { 2 });
        let mut file: Vec<&Access> = some.iter().collect();
        file.extend([&all[0], &before, &after]);
        put_log(&world, &trail, &published, &format!("{i:016}"), &file).await;
    }
    world.put(&data, "found", 300_000, "STANDARD").await;

    let trace = all.iter().fold("time,bucket,key,op,bytes,size\n".to_owned(), |text, access| text + &access.line());
    let file = world.dir.path().join("trace.csv");
    std::fs::write(&file, trace).unwrap();
    let (code, of_trace) = world.run_json(&["simulate", "--trace", file.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{of_trace}");

    let page = world.dir.path().join("page.html");
    let args = [&["simulate", "--out", page.to_str().unwrap()], &DAYS[..]].concat();
    let (code, of_logs) = world.run_json(&args).await;
    assert_eq!(code, 0, "{of_logs}");
    for same in ["objects", "days", "lines", "prices", "policies", "other_cadences"] {
        assert_eq!(of_logs[same], of_trace[same], "{same}");
    }
    assert_eq!(of_logs["objects"], 4);
    let said = &of_logs["logs"];
    assert_eq!((&said["files"], &said["accesses"], &said["duplicates"]), (&json!(7), &json!(65), &json!(7)), "{said}");
    assert_eq!(
        (&said["outside"], &said["reads"], &said["reads_counted"]),
        (&json!(14), &json!(61), &json!(0)),
        "{said}"
    );
    // What was written has gone without a log of it.
    assert_eq!(said["objects_vanished"], 2, "{said}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("the configured logs from 2024-01-01 to 2024-06-30") && page.contains("of 61 reads count"));

    // Whoever reads logs leaves no trace of his own.
    assert_eq!(rows_of(&world, &world.settings().ledger.table).await, 0);
    assert_eq!(rows_of(&world, &world.settings().state.table).await, 0);

    // What nobody used is stored all the same, and is paid for from the first day.
    world.put(&data, "unused", 200_000, "STANDARD").await;
    let (_, with_unused) = world.run_json(&args).await;
    assert_eq!((&with_unused["objects"], &with_unused["logs"]["objects_untouched"]), (&json!(5), &json!(1)));
    let stored = |report: &Value| report["policies"][0]["storage_usd"].as_f64().unwrap();
    let days = with_unused["days"].as_f64().unwrap();
    let gb_month = 0.025;
    let expected = days / 30.0 * gb_month * 200_000.0 / f64::from(1 << 30);
    let more = stored(&with_unused) - stored(&of_logs);
    assert!((more - expected).abs() < expected * 1e-3, "{more} instead of {expected}");
}

#[tokio::test]
async fn what_the_logs_do_not_tell_is_said_and_left_out() {
    let (world, trail, data) = world_with_logs("simgaps").await;
    let put = Access::new(1, "2024-01-02T10:00:00Z", &data, "known", "PUT", 400_000);
    let mut parts = Access::new(2, "2024-01-02T10:00:00Z", &data, "unknown", "PUT", 900);
    parts.event.name = "CompleteMultipartUpload";
    put_log(&world, &trail, "2024-01-03T00:05:00Z", "0000000000000001", &[&put, &parts]).await;
    let elsewhere = Access::new(3, "2024-01-05T10:00:00Z", "nobodys-bucket", "k", "PUT", 400_000);
    put_log(&world, &trail, "2024-01-06T00:05:00Z", "0000000000000002", &[&elsewhere]).await;
    let broken = logs::simple_key("2024-01-07T00:05:00Z", "0000000000000003");
    let body = logs::gzip(b"{\"Records\":[]}")[..12].to_vec();
    world.s3().put_object().bucket(&trail).key(&broken).body(body.into()).send().await.unwrap();

    let output = world.run(&[&["simulate", "--policy", "standard"], &DAYS[..]].concat()).await;
    assert_eq!(output.status.code(), Some(1));
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(errors.contains(&format!("left out s3://{trail}/{broken}")), "{errors}");
    assert!(errors.contains("not known of s3://nobodys-bucket: "), "{errors}");
    assert!(said.contains("2 objects over 4 days"), "{said}");
    assert!(said.contains("objects left out: 1 (neither the logs nor a listing tell their size)"), "{said}");
    assert!(said.contains("log files left out: 1") && said.contains("buckets not listed: 1"), "{said}");

    // Nothing in these days at all is a failure, not a bill of nothing.
    let output = world.run(&["simulate", "--since", "2020-01-01", "--until", "2020-01-31"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tell of no access from 2020-01-01 to 2020-01-31"));
    assert_eq!(world.run(&["simulate", "--trace", "x", "--days", "3"]).await.status.code(), Some(64));
}

#[tokio::test]
async fn without_a_trace_and_without_a_source_there_is_nothing_to_replay() {
    let directory = tempfile::tempdir().unwrap();
    let output = simulate(directory.path(), &[]).await;
    assert_eq!(output.status.code(), Some(64));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("--trace") && errors.contains("[[ingest.source]]"), "{errors}");
}
