//! `tierd simulate`: a trace in, bills out, and no AWS.

use std::io::Write;
use std::process::{Output, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::process::Command;

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
