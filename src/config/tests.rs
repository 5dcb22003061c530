use std::io::Write;

use super::*;

/// What makes the defaults complete.
const SOURCE: &str = "[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"trail\"\n";

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn problems(text: &str, variables: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    match load(Some(file.path()), env(variables)) {
        Ok(_) => Vec::new(),
        Err(error) => {
            error.to_string().lines().map(|line| line.replace(&file.path().display().to_string(), "FILE")).collect()
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_contract_and_lack_only_a_source() {
    let settings = Settings::from_toml(SOURCE).unwrap();
    assert_eq!(settings.aws.region, "ap-northeast-1");
    assert_eq!(settings.ingest.lookback.as_secs(), 48 * 3600);
    assert_eq!(settings.ingest.batch_bytes, 256 << 20);
    assert_eq!(settings.ingest.count.len(), 2);
    assert_eq!(settings.ingest.schedule.as_str(), "cron(0 0 28 * ? *)");
    assert_eq!(settings.ingest.timezone, chrono_tz::UTC);
    assert_eq!(settings.transition.recency.len(), 3);
    assert_eq!(settings.transition.multipart_threshold, 5 << 30);
    assert_eq!(settings.provision.cors.as_ref().unwrap().max_age_seconds, 3000);
    assert_eq!(settings.replicate, []);
    let error = Settings::from_toml("").unwrap_err().to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.contains("key `ingest.source`: is missing"), "{error}");
}

/// Every `# key = value` of the defaults is one that can be switched on by taking the `#` away.
#[test]
fn what_stands_behind_a_number_sign_can_be_switched_on() {
    let mut text = String::new();
    for line in DEFAULT_TOML.lines() {
        let key = |rest: &str| {
            rest.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b == b'_' || b.is_ascii_lowercase()))
        };
        let switched = line.strip_prefix("# ").filter(|rest| rest.starts_with("[[") || key(rest));
        // The pattern is for another kind of source, and the files are not here.
        let elsewhere = ["path_pattern", "bucket_policy_file", "prices_file"];
        if switched.is_some_and(|rest| elsewhere.iter().any(|key| rest.starts_with(key))) {
            continue;
        }
        text.push_str(switched.unwrap_or(line));
        text.push('\n');
    }
    let settings = Settings::from_toml(&text).unwrap();
    assert_eq!(settings.replicate.len(), 1);
    assert_eq!(settings.transition.bucket.len(), 1);
    assert_eq!(settings.transition.max_bytes, Some(10 << 40));
    assert!(settings.reconcile.schedule.is_some());
    assert_eq!(settings.aws.profile.as_deref(), Some("tierd"));
}

#[test]
fn the_local_configuration_is_in_order() {
    let settings = Settings::from_toml(include_str!("../../config/local.toml")).unwrap();
    assert_eq!(settings.state.lease.as_secs(), 5);
    assert_eq!(settings.ingest.source[0].bucket.as_str(), "tierd-local-trail");
}

#[test]
fn the_schedules_in_force_are_those_of_the_enabled_parts() {
    let text = "[ingest]\nenabled = false\n[reconcile]\nschedule = \"rate(1 hour)\"\ntimezone = \"Asia/Seoul\"\n";
    let settings = Settings::from_toml(text).unwrap();
    let keys: Vec<&str> = settings.schedules().into_iter().map(|(key, ..)| key).collect();
    let all = ["provision.sweep_schedule", "reconcile.schedule", "transition.schedule", "restore.sweep_schedule"];
    assert_eq!(keys, all);
    assert_eq!(settings.schedules()[1].2, chrono_tz::Asia::Seoul);
}

#[test]
fn what_is_printed_reads_back_as_the_same_settings() {
    let text = format!(
        "{SOURCE}prefix = \"a\\\"b\\\\\\n\"\naccount_ids = [\"012345678901\"]\n\
         [provision]\ncors = false\n[transition]\nmax_cost_usd = 1.5\nmax_bytes = \"3MiB\"\n\
         [[transition.bucket]]\nprefix = \"p\"\n[[transition.bucket.recency]]\nclass = \"GLACIER_IR\"\n"
    );
    for text in [text.as_str(), SOURCE] {
        let settings = Settings::from_toml(text).unwrap();
        let printed = settings.to_toml();
        assert_eq!(Settings::from_toml(&printed).unwrap_or_else(|e| panic!("{e}\n{printed}")), settings, "{printed}");
    }
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let file = file(&format!("{SOURCE}[aws]\nregion = \"us-east-1\"\nprofile = \"p\"\n"));
    let variables = env(&[
        ("TIERD__AWS__REGION", "eu-west-1"),
        ("TIERD__INGEST__SCHEDULE", "rate(1 hour)"),
        ("TIERD__INGEST__BATCH_FILES", "7"),
        ("TIERD__INGEST__BATCH_BYTES", "1048576"),
        ("TIERD__INGEST__SOURCE", "[{kind = \"cloudtrail\", bucket = 12345, account_ids = [012345678901]}]"),
        ("TIERD__RECONCILE__ADOPT", "true"),
        ("TIERD__RECONCILE__MAX_DROP_FRACTION", "1"),
        ("TIERD__TRANSITION__MAX_COST_USD", "2.5"),
        ("TIERD__TRANSITION__MAX_OBJECTS", "10"),
        ("TIERD__TRANSITION__TIMEZONE", "Asia/Seoul"),
        ("TIERD__PROVISION__BUCKET_NAME", "{user_id}"),
        ("TIERD__PROVISION__EVENTS", "[INSERT, \"MODIFY\"]"),
        ("TIERD__PROVISION__CORS", "false"),
        ("TIERD__USERS__TABLE", "123"),
        ("TIERD_CONFIG", "/nowhere"),
        ("HOME", "/"),
    ]);
    let Loaded { settings, origin } = load(Some(file.path()), variables).unwrap();
    assert_eq!(settings.aws.region, "eu-west-1");
    assert_eq!(settings.aws.profile.as_deref(), Some("p"));
    assert_eq!(settings.ingest.schedule.as_str(), "rate(1 hour)");
    assert_eq!(settings.ingest.batch_files, 7);
    assert_eq!(settings.ingest.batch_bytes, 1 << 20);
    assert_eq!(settings.ingest.source[0].bucket.as_str(), "12345");
    assert_eq!(settings.ingest.source[0].account_ids, ["012345678901"]);
    assert!(settings.reconcile.adopt);
    assert_eq!(settings.reconcile.max_drop_fraction, 1.0);
    assert_eq!(settings.transition.max_cost_usd, Some(2.5));
    assert_eq!(settings.transition.max_objects, Some(10));
    assert_eq!(settings.transition.timezone, chrono_tz::Asia::Seoul);
    assert_eq!(settings.provision.bucket_name, "{user_id}");
    assert_eq!(settings.provision.events, [UserEvent::Insert, UserEvent::Modify]);
    assert_eq!(settings.provision.cors, None);
    assert_eq!(settings.users.table, "123");
    assert_eq!(origin.file, file.path());
    assert_eq!(origin.variables.len(), 14);
    assert_eq!(origin.variables[0], "TIERD__AWS__REGION");
}

#[test]
fn the_file_is_the_command_lines_then_the_environments() {
    let file = file(SOURCE);
    let path = file.path().to_str().unwrap();
    assert_eq!(load(None, env(&[("TIERD_CONFIG", path)])).unwrap().origin.file, file.path());
    let missing = Path::new("/nowhere/tierd.toml");
    let error = load(Some(missing), env(&[("TIERD_CONFIG", path)])).unwrap_err();
    assert!(matches!(&error, ConfigError::NotFound { path, .. } if path == missing));
    let text = error.to_string();
    assert!(
        text.contains("/nowhere/tierd.toml") && text.contains("--config") && text.contains("default.toml"),
        "{text}"
    );
    let error = load(None, env(&[("TIERD_CONFIG", "/nowhere/else.toml")])).unwrap_err().to_string();
    assert!(error.contains("/nowhere/else.toml") && error.contains("TIERD_CONFIG names it"), "{error}");
}

#[test]
fn a_relative_policy_file_starts_at_the_configurations_directory() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tierd.toml");
    let policy = directory.path().join("policy.json");
    std::fs::write(&config, format!("{SOURCE}[provision]\nbucket_policy_file = \"policy.json\"\n")).unwrap();
    let missing = load(Some(&config), []).unwrap_err().to_string();
    assert!(missing.contains(":5: key `provision.bucket_policy_file`"), "{missing}");
    std::fs::write(&policy, "[1]").unwrap();
    assert!(load(Some(&config), []).unwrap_err().to_string().contains("is no JSON object"));
    std::fs::write(&policy, "{\"Statement\": []}").unwrap();
    let loaded = load(Some(&config), []).unwrap();
    assert_eq!(loaded.settings.provision.bucket_policy_file, Some(policy));
}

#[test]
fn every_mistake_of_a_price_file_is_one_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("tierd.toml");
    let prices = directory.path().join("prices.toml");
    std::fs::write(&config, format!("{SOURCE}[transition]\nprices_file = \"prices.toml\"\n")).unwrap();
    let missing = load(Some(&config), []).unwrap_err().to_string();
    assert!(missing.contains(":5: key `transition.prices_file`") && missing.contains("leave the key out"), "{missing}");
    let table = include_str!("../../config/prices/ap-northeast-1.toml");
    let broken = table.replace("currency = \"USD\"", "").replace("per_1000 = 11.42", "per_1000 = -1");
    std::fs::write(&prices, broken).unwrap();
    let wrong = load(Some(&config), []).unwrap_err().to_string();
    assert_eq!(wrong.lines().count(), 2, "{wrong}");
    assert!(wrong.contains("prices.toml: key `currency`: is missing"), "{wrong}");
    std::fs::write(&prices, table).unwrap();
    let loaded = load(Some(&config), []).unwrap();
    assert_eq!(loaded.settings.transition.prices_file, Some(prices));
}

/// The file's text, below a complete beginning of three lines, and what the one line of complaint must say.
#[test]
fn each_mistake_is_named_with_its_line_its_key_and_the_mend() {
    let cases = [
        ("[ingest]\nschedul = 1", ":5: key `ingest.schedul`: is no key of [ingest]; did you mean `schedule`?"),
        ("[ingests]\nschedule = 1", ":4: key `ingests`: is no table; did you mean `ingest`?"),
        ("[shutdown]\nxyz = 1", ":5: key `shutdown.xyz`: is no key of [shutdown]; there are grace"),
        ("[reconcile]\nadopt = \"yes\"", ":5: key `reconcile.adopt`: is the text \"yes\"; write true or false"),
        ("[ledger]\nwrite_concurrency = -1", ":5: key `ledger.write_concurrency`: is the number -1; write a whole"),
        ("[ledger]\nwrite_concurrency = 0", ":5: key `ledger.write_concurrency`: is 0; write 1 or more"),
        ("[aws]\nregion = 5", ":5: key `aws.region`: is the number 5; write a text in quotes"),
        ("[aws]\nregion = \"tokyo\"", ":5: key `aws.region`: \"tokyo\" is no region"),
        ("[aws]\nendpoint_url = \"localhost\"", ":5: key `aws.endpoint_url`: is no http or https URL"),
        ("[aws]\nassume_role_arn = \"x\"", ":5: key `aws.assume_role_arn`: is no ARN of a role"),
        (
            "[reconcile]\nschedule = \"cron(60 10 * * ? *)\"",
            ":5: key `reconcile.schedule`: minutes: 60 is out of range; write 0 to 59",
        ),
        (
            "[reconcile]\nschedule = \"rate(1 hours)\"",
            ":5: key `reconcile.schedule`: rate: the unit of 1 is not \"hours\"; write rate(1 hour)",
        ),
        ("[reconcile]\nschedule = \"daily\"", ":5: key `reconcile.schedule`: \"daily\" is no schedule; write cron("),
        (
            "[reconcile]\ntimezone = \"Asia/Seul\"",
            ":5: key `reconcile.timezone`: \"Asia/Seul\" is no time zone; did you mean \"Asia/Seoul\"?",
        ),
        ("[ingest]\nlookback = \"2 fortnights\"", ":5: key `ingest.lookback`: \"2 fortnights\" is no duration"),
        ("[ingest]\nlookback = 48", ":5: key `ingest.lookback`: is the number 48; write a duration with its unit"),
        ("[ingest]\nlookback = \"0s\"", ":5: key `ingest.lookback`: is no time at all"),
        ("[ingest]\nbatch_bytes = \"much\"", ":5: key `ingest.batch_bytes`: \"much\" is no size"),
        ("[ingest]\nbatch_bytes = 0", ":5: key `ingest.batch_bytes`: is 0"),
        ("[ingest]\ncount = []", ":5: key `ingest.count`: is empty"),
        ("[state]\nlease = \"10ms\"", ":5: key `state.lease`: is 10ms; write \"1s\" or more"),
        ("[state]\ntable = \"user\"", ":5: key `state.table`: is \"user\", as users.table is"),
        ("[users]\ntable = \"a b\"", ":5: key `users.table`: \"a b\" is no table name"),
        ("[users]\nkey = \"\"", ":5: key `users.key`: is empty"),
        ("[provision]\nevents = [\"INSERT\", \"REMOVE\"]", ":5: key `provision.events[1]`: \"REMOVE\" is no event"),
        ("[provision]\nevents = []", ":5: key `provision.events`: lacks \"INSERT\""),
        ("[provision]\nbucket_name = \"all\"", ":5: key `provision.bucket_name`: \"all\" gives all users one bucket"),
        (
            "[provision]\nidle_interval = \"10ms\"",
            ":5: key `provision.idle_interval`: is 10ms, less than poll_interval",
        ),
        ("[provision]\nabort_multipart_days = 0", ":5: key `provision.abort_multipart_days`: is 0"),
        ("[provision]\ncors = true", ":5: key `provision.cors`: is true; write a table, or false"),
        (
            "[provision.cors]\nallowed_methods = [\"PATCH\"]",
            ":5: key `provision.cors.allowed_methods[0]`: S3 allows no method",
        ),
        (
            "[[ingest.source]]\nkind = \"elb\"\nbucket = \"b12\"",
            ":5: key `ingest.source[1].kind`: \"elb\" is no kind of log; write \"cloudtrail\" or",
        ),
        ("[[ingest.source]]\nkind = \"alb\"", ":4: key `ingest.source[1].bucket`: is missing; set `bucket`"),
        ("[[ingest.source]]\nkind = \"alb\"\nbucket = \"b12\"", ":4: key `ingest.source[1].path_pattern`: is missing"),
        (
            "[[ingest.source]]\nkind = \"alb\"\nbucket = \"b12\"\npath_pattern = \"(\"",
            ":7: key `ingest.source[1].path_pattern`: is no regular expression: unclosed group",
        ),
        (
            "[[ingest.source]]\nkind = \"alb\"\nbucket = \"b12\"\npath_pattern = \"(?<bucket>.)\"",
            ":7: key `ingest.source[1].path_pattern`: has no capture named `key`",
        ),
        ("path_pattern = \"x\"", ":4: key `ingest.source[0].path_pattern`: has no meaning for kind = \"cloudtrail\""),
        (
            "account_ids = [\n  \"012345678901\",\n  1,\n]",
            ":4: key `ingest.source[0].account_ids[1]`: is the number 1; write a text",
        ),
        ("account_ids = [\"1\"]", ":4: key `ingest.source[0].account_ids[0]`: \"1\" is no account id; write its 12"),
        (
            "[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"trail\"",
            ":4: key `ingest.source[1]`: has the kind, bucket",
        ),
        (
            "[[ingest.source]]\nkind = \"cloudtrail\"\nbucket = \"t\"",
            ":6: key `ingest.source[1].bucket`: a bucket name has 3 to 63",
        ),
        ("[reconcile]\nmax_drop_fraction = 1.5", ":5: key `reconcile.max_drop_fraction`: is 1.5; write a share"),
        ("[transition]\npolicy = \"lru\"", ":5: key `transition.policy`: \"lru\" is no policy; write \"recency\" or"),
        (
            "[transition]\nmultipart_threshold = \"6GiB\"",
            ":5: key `transition.multipart_threshold`: is 6GiB; write 5MiB to 5GiB",
        ),
        (
            "[transition]\nmultipart_part_size = \"1MiB\"",
            ":5: key `transition.multipart_part_size`: is 1MiB; write 5MiB to",
        ),
        ("[transition]\nmax_requests_per_second = 0", ":5: key `transition.max_requests_per_second`: is 0"),
        ("[transition]\nmax_objects = 0", ":5: key `transition.max_objects`: is 0, so that"),
        ("[transition]\nmax_payback_months = 0", ":5: key `transition.max_payback_months`: is not above zero"),
        ("[transition.frequency]\ntop_fraction = nan", ":5: key `transition.frequency.top_fraction`: is NaN"),
        (
            "[transition.adaptive]\nmax_delayed_reads = 1",
            ":5: key `transition.adaptive.max_delayed_reads`: is 1; write a share from 0.0 (nothing is archived) to below 1.0",
        ),
        (
            "[[transition.bucket]]\nprefix = \"p\"\nadaptive.max_delayed_reads = -0.1",
            ":6: key `transition.bucket[0].adaptive.max_delayed_reads`: is -0.1; write a share",
        ),
        (
            "[transition.frequency]\ntop_class = \"COLD\"",
            ":5: key `transition.frequency.top_class`: \"COLD\" is no storage class; there are",
        ),
        (
            "[[transition.recency]]\nup_to_days = 3\nclass = \"STANDARD\"",
            ":4: key `transition.recency`: ends at 3 days",
        ),
        (
            "[[transition.recency]]\nclass = \"STANDARD\"\n[[transition.recency]]\nclass = \"GLACIER\"",
            ":4: key `transition.recency[0]`: has no up_to_days",
        ),
        (
            "[transition]\nrecency = [{up_to_days = 9, class = \"STANDARD\"}, {up_to_days = 9, class = \"STANDARD\"}, {class = \"GLACIER\"}]",
            ":5: key `transition.recency[1].up_to_days`: is 9, and the step before goes to 9",
        ),
        ("[[transition.bucket]]\nprefix = \"p\"", ":4: key `transition.bucket[0]`: changes nothing"),
        (
            "[[transition.bucket]]\nprefix = \"p\"\npolicy = \"recency\"\n[transition.bucket.frequency]\ntop_fraction = 1\ntop_class = \"STANDARD\"",
            ":7: key `transition.bucket[0].frequency.rest_class`: is missing",
        ),
        (
            "[restore]\ntier = \"Fast\"",
            ":5: key `restore.tier`: \"Fast\" is no restore tier; write \"Standard\" or \"Bulk\"",
        ),
        ("[restore]\ndays = 0", ":5: key `restore.days`: is 0"),
        ("[restore]\nevent_queue = \"\"", ":5: key `restore.event_queue`: names no queue"),
        (
            "[restore]\nevent_queue = \"tierd-restore-requests\"",
            ":4: key `restore.request_queue`: is \"tierd-restore-requests\", as restore.event_queue is",
        ),
        ("[restore]\nrestored_class = \"GLACIER\"", ":5: key `restore.restored_class`: GLACIER is an archive"),
        ("[restore]\ntag_key = \"aws:x\"", ":5: key `restore.tag_key`: \"aws:x\" is no tag key"),
        (
            "[[replicate]]\nqueue = \"q\"\nsource_bucket = \"abc\"\ndestination_bucket = \"abc\"",
            ":4: key `replicate[0].destination_prefix`: lies under",
        ),
        (
            "[[replicate]]\nqueue = \"q\"\nsource_bucket = \"abc\"\ndestination_bucket = \"abd\"\n[[replicate]]\nqueue = \"q\"\nsource_bucket = \"abc\"\ndestination_bucket = \"abd\"",
            ":9: key `replicate[1].queue`: is \"q\", as replicate[0].queue is",
        ),
        (
            "[telemetry]\nlog_format = \"xml\"",
            ":5: key `telemetry.log_format`: \"xml\" is no log format; write \"json\" or \"pretty\"",
        ),
        ("[telemetry]\nlevel = \"loud\"", ":5: key `telemetry.level`: \"loud\" is no level"),
        ("[telemetry]\nmetrics_namespace = \"\"", ":5: key `telemetry.metrics_namespace`: \"\" is no namespace"),
        ("[shutdown]\ngrace = \"0s\"", ":5: key `shutdown.grace`: is no time at all"),
        ("provision = 3", ":4: key `ingest.source[0].provision`: is no key of [ingest.source"),
        ("[aws\nregion = 1", ":4: is no TOML: "),
        ("kind = \"alb\"", ":4: is no TOML: duplicate key"),
    ];
    for (text, expected) in cases {
        let found = problems(&format!("{SOURCE}{text}\n"), &[]);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        let expected = format!("FILE{expected}");
        assert!(found[0].starts_with(&expected), "{text}\n found    {}\n expected {expected}", found[0]);
        assert!(found[0].contains("; "), "no mend: {}", found[0]);
    }
}

#[test]
fn each_mistake_in_the_environment_names_its_variable() {
    let cases = [
        ("TIERD__INGEST__SCHEDUL", "x", "key `ingest.schedul`: is no key of [ingest]; did you mean `schedule`?"),
        ("TIERD__INGEST__BATCH_FILES", "many", "key `ingest.batch_files`: is the text \"many\"; write a whole number"),
        ("TIERD__INGEST__BATCH_FILES", "-1", "key `ingest.batch_files`: is the number -1; write a whole number"),
        ("TIERD__RECONCILE__ADOPT", "1", "key `reconcile.adopt`: is the number 1; write true or false"),
        ("TIERD__AWS", "x", "key `aws`: is the text \"x\"; write a table"),
        ("TIERD__AWS__REGION__NAME", "x", "key `aws.region`: is a table; write a text in quotes"),
        ("TIERD____AWS", "x", "has an empty level"),
        ("TIERD__TRANSITION__CONCURRENCY", "0", "key `transition.concurrency`: is 0; write 1 or more"),
        ("TIERD__INGEST__SOURCE", "[{kind=\"cloudtrail\"}]", "key `ingest.source[0].bucket`: is missing"),
    ];
    for (variable, value, expected) in cases {
        let found = problems(SOURCE, &[(variable, value)]);
        assert_eq!(found.len(), 1, "{variable}\n{found:#?}");
        let place = format!("environment variable {variable}: ");
        assert!(found[0].starts_with(&place), "{}", found[0]);
        assert!(found[0][place.len()..].starts_with(expected), "{variable}: {}", found[0]);
    }
}

#[test]
fn all_problems_are_told_at_once_and_none_twice() {
    let text = "\
[ingest]
lookback = 3
schedul = 1
[[ingest.source]]
kind = 1
bucket = \"x\"
[[ingest.source]]
kind = \"cloudtrail\"
bucket = \"good-bucket\"
regions = [1, \"us-east-1\", 2, \"nowhere\"]
[reconcile]
max_drop_fraction = 2
[[transition.recency]]
up_to_days = 3
class = \"COLD\"
[bogus]
x = 1
";
    let found = problems(text, &[("TIERD__RESTORE__DAYS", "0"), ("TIERD__STATE__LEASE", "5")]);
    let expected = [
        ("environment variable TIERD__RESTORE__DAYS", "restore.days"),
        ("environment variable TIERD__STATE__LEASE", "state.lease"),
        ("FILE:2", "ingest.lookback"),
        ("FILE:3", "ingest.schedul"),
        ("FILE:5", "ingest.source[0].kind"),
        ("FILE:6", "ingest.source[0].bucket"),
        ("FILE:10", "ingest.source[1].regions[0]"),
        ("FILE:10", "ingest.source[1].regions[2]"),
        ("FILE:10", "ingest.source[1].regions[3]"),
        ("FILE:12", "reconcile.max_drop_fraction"),
        ("FILE:15", "transition.recency[0].class"),
        ("FILE:16", "bogus"),
    ];
    let mut places: Vec<String> = found.iter().map(|line| line.split("`: ").next().unwrap().to_owned()).collect();
    let mut wanted: Vec<String> = expected.iter().map(|(place, key)| format!("{place}: key `{key}")).collect();
    places.sort();
    wanted.sort();
    assert_eq!(places, wanted, "{found:#?}");
}

#[test]
fn a_password_in_a_url_is_refused_and_never_printed() {
    for (variable, key) in
        [("TIERD__AWS__ENDPOINT_URL", "aws.endpoint_url"), ("TIERD__RESTORE__EVENT_QUEUE", "restore.event_queue")]
    {
        let found = problems(SOURCE, &[(variable, "http://user:hunter2@localhost/1/q")]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains(key) && found[0].contains("credentials"), "{}", found[0]);
        assert!(!found[0].contains("hunter2"), "{}", found[0]);
    }
}

#[test]
fn a_broken_text_is_refused_and_never_printed() {
    let error = Settings::from_toml("[aws]\nendpoint_url = \"http://user:hunter2@h\" x\n").unwrap_err().to_string();
    assert!(error.starts_with("line 2: is no TOML: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn the_nearest_name_is_the_one_that_was_meant() {
    assert_eq!(nearest("schedul", ["schedule", "timezone"]), Some("schedule"));
    assert_eq!(nearest("Schedule", ["schedule"]), Some("schedule"));
    assert_eq!(nearest("zzz", ["schedule", "timezone"]), None);
}

proptest::proptest! {
    /// Whatever stands in the file or in a variable: settings or an error, in bounded time.
    #[test]
    fn any_text_is_settings_or_an_error(
        text in "(\\[\\[?[a-z.]{0,12}\\]?\\]?\n|(schedule|prefix|bucket|region|count|source) = [-0-9a-z\"'\\[\\]{}=, ]{0,12}\n|[ -~]\n){0,6}",
        variable in "TIERD__(AWS|INGEST|INGEST__SOURCE|INGEST__COUNT|[A-Z_]{0,6})(__[A-Z]{0,6})?",
        value in "[-0-9a-z\"'\\[\\]{}=, ]{0,16}",
    ) {
        let sources = Sources { file: None, directory: Path::new(""), text: &text };
        let (overrides, bad) = Overrides::from_env([(variable, value)]);
        if let Err(error) = settle(sources, overrides, bad) {
            proptest::prop_assert!(!error.to_string().is_empty());
        }
    }
}
