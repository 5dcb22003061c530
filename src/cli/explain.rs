//! `tierd explain`.

use std::fmt::Write as _;

use anyhow::Result;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{Exit, foreground};
use crate::clock::rfc3339;
use crate::config::Settings;
use crate::jobs::transition::explain::{Explanation, Seen, Verdict, encryption_of};
use crate::policies;
use crate::prices::PriceList;
use crate::report::human::{bytes, counted, months, usd_exact};
use crate::report::tables::printable;
use crate::s3::bucket_facts::Versioning;
use crate::s3::object::ObjectHead;
use crate::tiering::object::ObjectId;
use crate::tiering::restore::RestoreStatus;
use crate::tiering::storage_class::StorageClass;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every policy is asked what it would do, and the one that holds for the bucket is named last. What is against a move stands
under its stable name, as in plans and reports; a run counts the object under the first of them.

Under policy frequency an object's rank is shown, and under policy adaptive the chance that it is read in the next 30 days,
what staying costs and what moving costs; for both, the ledger's rows of the whole bucket are read.

Examples:
  tierd explain s3://siuu42-1762000000/photos/2019/beach.jpg
  tierd explain --json s3://siuu42-1762000000/photos/2019/beach.jpg | jq '.policies[] | {policy, does, against}'

Exit code 0: explained; 1: there is no such object, or some of it cannot be found out; 69: there is no such bucket, or AWS
cannot be reached.")]
pub struct Args {
    /// The object, as s3://BUCKET/KEY with the key as it is (not encoded)
    #[arg(value_name = "s3://BUCKET/KEY")]
    object: ObjectId,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    let list = policies::prices(&app.settings)?;
    let candidates = policies::candidates(&app.settings.transition, &args.object.bucket)?;
    let explained = app.explainer().await?.explain(&args.object, &candidates).await?;
    if args.json {
        println!("{}", to_json(&explained, &list, &app.settings.restore.tag_key));
    } else {
        print!("{}", Text { it: &explained, list: &list, tag_key: &app.settings.restore.tag_key }.render());
    }
    Ok(exit_of(&explained))
}

fn exit_of(it: &Explanation) -> Exit {
    match (&it.seen, &it.row) {
        (Seen::NoBucket, None) => Exit::Unavailable,
        (Seen::Missing, None) => Exit::Failures,
        _ if it.problems.is_empty() => Exit::Done,
        _ => Exit::Failures,
    }
}

/// What becomes of the object, in a sentence without an end.
fn conclusion(it: &Explanation) -> String {
    let here =
        it.row.as_ref().and_then(|row| row.class).map_or("where it is".to_owned(), |class| format!("in {class}"));
    match (it.verdict(), &it.seen) {
        (None, Seen::Missing | Seen::NoBucket) => "nothing is known of it, neither by the ledger nor by S3".to_owned(),
        (None, _) => {
            "no transition run looks at it, since the ledger has no row of it: a row comes with its first counted \
                      use, or from a reconcile under reconcile.adopt = true"
                .to_owned()
        }
        (Some(verdict), _) => match (&verdict.decision, verdict.against.first()) {
            (_, Some(first)) => format!("leaves it {here}, because {}", first.because),
            (Some(decision), None) if verdict.moves() => {
                format!("moves it from {} to {}", class_of(it), decision.target)
            }
            _ => format!("leaves it {here}, which is where the policy wants it"),
        },
    }
}

fn class_of(it: &Explanation) -> &'static str {
    it.row.as_ref().and_then(|row| row.class).map_or("its class", StorageClass::as_str)
}

/// `move`, `stay`, or `skip` where something is against it.
fn does(verdict: &Verdict) -> &'static str {
    if verdict.moves() {
        "move"
    } else if verdict.stays() {
        "stay"
    } else {
        "skip"
    }
}

fn to_json(it: &Explanation, list: &PriceList, tag_key: &str) -> Value {
    let row = it.row.as_ref().map(|row| {
        json!({
            "etag": row.etag, "count": row.count, "event_time": row.event_time.map(rfc3339), "storage_class": row.class,
            "size": row.size, "class_since": row.class_since.map(rfc3339), "last_batch": row.last_batch,
            "differs": it.drift(),
        })
    });
    let policies: Vec<Value> = it.verdicts.iter().map(|verdict| verdict_json(verdict, it)).collect();
    json!({
        "object": it.id.to_string(),
        "bucket": it.id.bucket,
        "key": it.id.key,
        "at": rfc3339(it.at),
        "ledger": row,
        "s3": seen_json(it, tag_key),
        "versioning": it.versioning.map(name_of),
        "evidence": {
            "last_ok_ingest": it.evidence.last_ok_ingest.map(rfc3339), "logs_since": it.evidence.covered_since.map(rfc3339),
        },
        "monthly_usd": it.monthly_usd,
        "prices": {
            "region": list.prices.region, "as_of": list.prices.as_of, "source": list.prices.source,
            "warning": list.warning(it.at.date_naive()),
        },
        "policy": it.holds,
        "policies": policies,
        "conclusion": conclusion(it),
        "problems": it.problems,
    })
}

fn seen_json(it: &Explanation, tag_key: &str) -> Value {
    match &it.seen {
        Seen::Object { head, restore_tag } => json!({
            "state": "found", "etag": head.etag, "size": head.size, "storage_class": head.class,
            "last_modified": head.last_modified.map(rfc3339), "version_id": head.version_id, "restore": head.restore,
            "archive_status": head.archive_status, "encryption": encryption_of(head), "locked": head.lock.holds(it.at),
            "restore_tag": restore_tag.as_ref().map(|value| json!({ tag_key: value })),
        }),
        Seen::CustomerKey => json!({ "state": "found", "encryption": "SSE-C" }),
        Seen::Missing => json!({ "state": "missing" }),
        Seen::NoBucket => json!({ "state": "no-bucket" }),
        Seen::Unreadable => json!({ "state": "unreadable" }),
    }
}

fn verdict_json(verdict: &Verdict, it: &Explanation) -> Value {
    let cost = verdict.cost.map(|cost| {
        json!({
            "cost_usd": cost.one_off_usd(), "requests_usd": cost.requests_usd, "retrieval_usd": cost.retrieval_usd,
            "restore_usd": cost.restore_usd, "early_deletion_usd": cost.early_deletion_usd,
            "monthly_saving_usd": cost.monthly_saving_usd, "months_to_break_even": cost.months_to_break_even(),
        })
    });
    json!({
        "policy": verdict.policy,
        "holds": verdict.policy == it.holds,
        "wants": verdict.decision.as_ref().map(|decision| decision.target),
        "reason": verdict.decision.as_ref().map(|decision| decision.reason.to_string()),
        "does": does(verdict),
        "against": verdict.against,
        "move": cost,
    })
}

fn name_of(versioning: Versioning) -> &'static str {
    match versioning {
        Versioning::Never => "never",
        Versioning::Suspended => "suspended",
        Versioning::Enabled => "enabled",
    }
}

/// The explanation for people.
struct Text<'a> {
    it: &'a Explanation,
    list: &'a PriceList,
    tag_key: &'a str,
}

impl Text<'_> {
    fn render(&self) -> String {
        let it = self.it;
        let mut out = format!("{}\n\n", printable(&it.id.to_string()));
        self.in_s3(&mut out);
        self.in_the_ledger(&mut out);
        self.evidence(&mut out);
        self.money(&mut out);
        for verdict in &it.verdicts {
            self.verdict(&mut out, verdict);
        }
        for problem in &it.problems {
            line(&mut out, "!", &printable(problem));
        }
        if it.verdicts.is_empty() {
            out += &format!("\n{}\n", sentence(&conclusion(it)));
        } else {
            out += &format!("\nThe next transition run, under policy {}, {}.\n", it.holds, conclusion(it));
        }
        out
    }

    fn in_s3(&self, out: &mut String) {
        let it = self.it;
        match &it.seen {
            Seen::Object { head, restore_tag } => {
                let written = head.last_modified.map_or_else(String::new, |at| format!(", written {}", self.ago(at)));
                line(
                    out,
                    "in S3",
                    &format!("{} in {}{written}, ETag {}", bytes(head.size), head.class, head.etag.as_str()),
                );
                let mut more = vec![match it.versioning {
                    Some(Versioning::Never) => "no versions kept".to_owned(),
                    Some(Versioning::Suspended) => "versioning suspended".to_owned(),
                    Some(Versioning::Enabled) => "versions kept".to_owned(),
                    None => "versioning not known".to_owned(),
                }];
                more.push(
                    encryption_of(head).map_or("not encrypted".to_owned(), |how| format!("encrypted with {how}")),
                );
                more.extend(head.lock.holds(it.at).then(|| "locked".to_owned()));
                more.extend(self.restore(head, restore_tag.as_deref()));
                line(out, "", &more.join(", "));
            }
            Seen::CustomerKey => line(out, "in S3", "encrypted with a key that only the customer has (SSE-C)"),
            Seen::Missing => line(out, "in S3", "there is no such object"),
            Seen::NoBucket => line(out, "in S3", &format!("there is no bucket {}", it.id.bucket)),
            Seen::Unreadable => line(out, "in S3", "it cannot be looked at"),
        }
    }

    fn restore(&self, head: &ObjectHead, tag: Option<&str>) -> Vec<String> {
        let mut said = Vec::new();
        match self.it.restore() {
            Some(RestoreStatus::NotRestored) if head.class.is_archive() => said.push("not restored".to_owned()),
            Some(RestoreStatus::NotRestored) => {}
            Some(status) => said.push(status.to_string()),
            None => said.push("its restore header cannot be read".to_owned()),
        }
        said.extend(head.archive_status.as_ref().map(|tier| format!("archived in {tier}")));
        said.extend(tag.map(|value| format!("tagged {}={}", self.tag_key, printable(value))));
        said
    }

    fn in_the_ledger(&self, out: &mut String) {
        let it = self.it;
        let Some(row) = &it.row else {
            return line(out, "ledger", "no row");
        };
        let used = match (row.count, row.event_time) {
            (0, Some(at)) => format!("no use seen, written {}", self.ago(at)),
            (uses, Some(at)) => format!("{} counted, the last {}", counted(uses, "use"), self.ago(at)),
            (uses, None) => format!("{} counted, the last not known", counted(uses, "use")),
        };
        line(out, "ledger", &used);
        let class = row.class.map_or("class not known before the next reconcile".to_owned(), |class| {
            let since = row.class_since.map_or_else(String::new, |at| format!(" since {}", at.format("%Y-%m-%d")));
            format!("in {class}{since}")
        });
        let differs = it.drift().map_or_else(String::new, |what| format!("; a reconcile will mend {what}"));
        line(out, "", &format!("{class}{differs}"));
    }

    fn evidence(&self, out: &mut String) {
        let evidence = &self.it.evidence;
        let ingest = evidence.last_ok_ingest.map_or("no ingest has ended well yet".to_owned(), |at| {
            format!("the last ingest that ended well was {}", self.ago(at))
        });
        let logs = evidence.covered_since.map_or("how far the logs reach back is not known".to_owned(), |at| {
            format!("the logs reach back to {}", at.date_naive())
        });
        line(out, "evidence", &format!("{ingest}; {logs}"));
    }

    fn money(&self, out: &mut String) {
        let prices = &self.list.prices;
        if let Some(monthly) = self.it.monthly_usd {
            let of = format!("prices of {}, {}", prices.region, prices.as_of);
            line(out, "costs", &format!("{} a month in {} ({of})", usd_exact(monthly), class_of(self.it)));
        }
        if let Some(warning) = self.list.warning(self.it.at.date_naive()) {
            line(out, "", &format!("mind the prices: {warning}"));
        }
    }

    fn verdict(&self, out: &mut String, verdict: &Verdict) {
        let holds = if verdict.policy == self.it.holds { " (holds for this bucket)" } else { "" };
        *out += &format!("\npolicy {}{holds}\n", verdict.policy);
        if let Some(decision) = &verdict.decision {
            let there = if verdict.stays() { ", where it is" } else { "" };
            line(out, "wants", &format!("{}{there}: {}", decision.target, decision.reason));
        }
        if let Some(cost) = &verdict.cost {
            let parts = [
                ("requests", cost.requests_usd),
                ("retrieval", cost.retrieval_usd),
                ("restore", cost.restore_usd),
                ("the rest of the minimum duration", cost.early_deletion_usd),
            ];
            let parts: Vec<String> = parts
                .into_iter()
                .filter(|(_, usd)| *usd > 0.0)
                .map(|(what, usd)| format!("{what} {}", usd_exact(usd)))
                .collect();
            let saving = cost.monthly_saving_usd;
            let monthly = if saving > 0.0 {
                format!("saves {} a month: paid back in {}", usd_exact(saving), months(cost.months_to_break_even()))
            } else {
                format!("adds {} a month", usd_exact(-saving))
            };
            line(out, "costs", &format!("{} once ({}), {monthly}", usd_exact(cost.one_off_usd()), parts.join(", ")));
        }
        for against in &verdict.against {
            line(out, "against", &format!("{}: {}", against.reason, against.because));
        }
        line(out, "does", if verdict.moves() { "moves it" } else { "leaves it where it is" });
    }

    fn ago(&self, at: DateTime<Utc>) -> String {
        let days = (self.it.at - at).num_days().max(0).unsigned_abs();
        format!("on {} ({} ago)", at.date_naive(), counted(days, "day"))
    }
}

fn line(out: &mut String, name: &str, text: &str) {
    writeln!(out, "  {name:<10}{text}").expect("writing to a string cannot fail");
}

fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), chars.as_str()))
}
