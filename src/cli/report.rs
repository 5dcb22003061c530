//! `tierd report`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::progress_bar::ProgressBar;
use super::whole_file::write_whole;
use super::{Exit, foreground};
use crate::clock;
use crate::config::Settings;
use crate::progress::Progress;
use crate::report::{self, csv, html, text};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write a page (.html) or a table for spreadsheets (.csv) instead of printing tables
    #[arg(long, value_name = "FILE", value_parser = parse_out)]
    out: Option<Out>,
}

/// Where the report goes, in the form that the file's name asks for.
#[derive(Debug, Clone)]
struct Out {
    file: PathBuf,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Html,
    Csv,
}

fn parse_out(file: &str) -> Result<Out, String> {
    let extension = Path::new(file).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    let form = match extension.as_deref() {
        Some("html" | "htm") => Form::Html,
        Some("csv") => Form::Csv,
        _ => return Err("the name of the file ends in .html or .csv".to_owned()),
    };
    Ok(Out { file: PathBuf::from(file), form })
}

pub async fn run(settings: Settings, args: Args) -> Result<Exit> {
    let app = foreground(settings).await?;
    let progress = Progress::default();
    let bar = ProgressBar::show(progress.clone());
    let report = report::gather(&app.settings, &app.ledger, &app.state, clock::now_secs(), &progress).await;
    bar.finish();
    let report = report?;
    if let Some(warning) = &report.prices_warning {
        tracing::warn!(event = "report.prices", region = app.settings.aws.region, "{warning}");
    }
    match args.out {
        None => print!("{}", text::render(&report)),
        Some(Out { file, form }) => {
            let rendered = match form {
                Form::Html => html::render(&report),
                Form::Csv => csv::render(&report),
            };
            write_whole(&file, &rendered).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    Ok(if report.usage.unreadable_rows() == 0 { Exit::Done } else { Exit::Failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_file_says_its_form() {
        assert!(matches!(parse_out("a/b.html"), Ok(Out { form: Form::Html, .. })));
        assert!(matches!(parse_out("B.CSV"), Ok(Out { form: Form::Csv, .. })));
        for name in ["report", "report.pdf", "csv", ".html"] {
            assert!(parse_out(name).is_err(), "{name}");
        }
    }
}
