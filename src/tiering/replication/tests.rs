use proptest::prelude::*;

use super::*;

fn rule(path: PathRule) -> Rule {
    Rule {
        source_bucket: BucketName::new("source").unwrap(),
        source_prefix: "prefix/".to_owned(),
        destination_bucket: BucketName::new("destination").unwrap(),
        destination_prefix: "bdp/".to_owned(),
        path,
    }
}

fn id(key: &str) -> ObjectId {
    ObjectId::new(BucketName::new("source").unwrap(), ObjectKey::new(key).unwrap())
}

fn etag(text: &str) -> ETag {
    ETag::new(text).unwrap()
}

fn sequencer(text: &str) -> Sequencer {
    Sequencer::new(text).unwrap()
}

fn head(tag: &str) -> SourceHead {
    SourceHead {
        etag: etag(tag),
        size_bytes: 5,
        modified: "2026-03-01T00:00:00.5Z".parse().unwrap(),
        metadata: Metadata::from([("content-type".to_owned(), "text/plain".to_owned())]),
        tags: vec![("team".to_owned(), "blue".to_owned())],
    }
}

/// What a store holds at the destination after `decision`, under an ETag of its own, as SSE-KMS gives it.
fn written(decision: Decision, own_etag: &str) -> DestinationHead {
    let Decision::Copy { metadata, .. } = decision else { panic!("{decision:?}") };
    DestinationHead { etag: etag(own_etag), size_bytes: 5, metadata, is_tagged: true }
}

#[test]
fn a_destination_key_is_the_base_name_or_what_follows_the_prefix() {
    let cases = [
        ("prefix/a.txt", Some(Ok("bdp/a.txt")), Some(Ok("bdp/a.txt"))),
        ("prefix/x/y/a.txt", Some(Ok("bdp/a.txt")), Some(Ok("bdp/x/y/a.txt"))),
        ("prefix/사진/가 나+다%20.jpg", Some(Ok("bdp/가 나+다%20.jpg")), Some(Ok("bdp/사진/가 나+다%20.jpg"))),
        ("prefix//a", Some(Ok("bdp/a")), Some(Ok("bdp//a"))),
        ("prefix/x/", Some(Err(DestinationError::NoName)), Some(Ok("bdp/x/"))),
        ("prefix/", Some(Err(DestinationError::NoName)), Some(Err(DestinationError::NoName))),
        ("prefixed/a", None, None),
        ("other/prefix/a", None, None),
    ];
    let expected = |case: Option<Result<&str, DestinationError>>| {
        case.map(|case| case.map(|key| format!("s3://destination/{key}").parse::<ObjectId>().unwrap()))
    };
    for (key, base_name, after_prefix) in cases {
        assert_eq!(rule(PathRule::BaseName).destination(&id(key)), expected(base_name), "{key}");
        assert_eq!(rule(PathRule::AfterPrefix).destination(&id(key)), expected(after_prefix), "{key}");
    }
    let elsewhere = "s3://another/prefix/a".parse().unwrap();
    assert_eq!(rule(PathRule::BaseName).destination(&elsewhere), None);
}

#[test]
fn a_key_that_grows_over_1024_bytes_has_no_destination() {
    let mut rule = rule(PathRule::AfterPrefix);
    rule.destination_prefix = "longer-than-the-source's/".to_owned();
    let key = format!("prefix/{}", "k".repeat(1017));
    let expected = Err(DestinationError::Key(NameError::KeyLength(1017 + rule.destination_prefix.len())));
    assert_eq!(rule.destination(&id(&key)), Some(expected));
}

#[test]
fn a_rule_that_would_replicate_its_own_copies_is_known() {
    let mut rule = rule(PathRule::AfterPrefix);
    assert!(!rule.feeds_itself());
    rule.destination_bucket = rule.source_bucket.clone();
    assert!(!rule.feeds_itself());
    rule.destination_prefix = "prefix/copies/".to_owned();
    assert!(rule.feeds_itself());
    rule.source_prefix.clear();
    assert!(rule.feeds_itself());
}

#[test]
fn only_creations_that_are_not_the_daemons_own_are_wanted() {
    use EventKind::*;
    let own = "AROAOWN:tierd-1";
    let cases = [
        (Created(Creation::Put), Some("AWS:AROAUSER:me"), Wanted::Yes),
        (Created(Creation::Copy), Some("AWS:AROAUSER:me"), Wanted::Yes),
        (Created(Creation::Copy), Some("AWS:AROAOWNER:me"), Wanted::Yes),
        (Created(Creation::Copy), Some("AWS:AROAOWN:tierd-2"), Wanted::OwnInPlaceCopy),
        (Created(Creation::CompleteMultipartUpload), Some("AROAOWN:tierd-1"), Wanted::OwnInPlaceCopy),
        (Created(Creation::Put), Some("AWS:AROAOWN:tierd-1"), Wanted::Yes),
        (Created(Creation::Copy), Some("123456789012"), Wanted::Yes),
        (Created(Creation::Copy), None, Wanted::Yes),
        (Created(Creation::Other), None, Wanted::Yes),
        (RestoreCompleted, None, Wanted::NotACreation),
        (RestoreInitiated, None, Wanted::NotACreation),
        (RestoreExpired, None, Wanted::NotACreation),
    ];
    for (kind, principal, expected) in cases {
        let event = S3Event {
            kind,
            id: id("prefix/k"),
            time: None,
            etag: None,
            size_bytes: None,
            version_id: None,
            sequencer: None,
            principal: principal.map(str::to_owned),
        };
        assert_eq!(wanted(&event, own), expected, "{kind:?} {principal:?}");
        assert_ne!(wanted(&event, ""), Wanted::OwnInPlaceCopy, "no identity, no claim: {principal:?}");
    }
}

#[test]
fn sequencers_are_compared_with_the_shorter_padded_on_the_right() {
    let cases = [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6", Ordering::Less),
        ("0055aed6dcd90281e5", "0055AED6DCD90281E5", Ordering::Equal),
        ("0055AED6DCD90281E5", "0055AED6DCD90281E501", Ordering::Less),
        ("0055AED6DCD90281E5", "0055AED6DCD90281E500", Ordering::Equal),
        ("0055AED6DCD90281E6", "0055AED6DCD90281E501", Ordering::Greater),
        ("9", "A", Ordering::Less),
    ];
    for (a, b, order) in cases {
        assert_eq!(sequencer(a).cmp(&sequencer(b)), order, "{a} {b}");
        assert_eq!(sequencer(b).cmp(&sequencer(a)), order.reverse(), "{b} {a}");
    }
    assert!(Sequencer::new("").is_none() && Sequencer::new("00G").is_none());
}

#[test]
fn what_is_missing_is_copied_only_while_it_is_missing() {
    let decision = decide(&id("prefix/k"), Some(&head("v1")), None, Some(&sequencer("01")));
    let Decision::Copy { source_is, destination_is, metadata } = decision else { panic!("{decision:?}") };
    assert_eq!((source_is, destination_is), (etag("v1"), DestinationIs::Absent));
    assert_eq!(metadata["content-type"], "text/plain");
    assert_eq!(Marker::parse(&metadata[MARKER_NAME]).unwrap().sequencer, Some(sequencer("01")));
    assert_eq!(decide(&id("prefix/k"), None, None, None), Decision::SourceGone);
}

#[test]
fn a_copy_is_up_to_date_until_contents_or_metadata_change() {
    let source = id("prefix/k");
    let there = written(decide(&source, Some(&head("v1")), None, Some(&sequencer("05"))), "d1");
    let decided =
        |head: &SourceHead, text: Option<&str>| decide(&source, Some(head), Some(&there), text.map(sequencer).as_ref());
    // Again, by a later in-place copy of the daemon, by an older event, by a walk.
    for event in [Some("05"), Some("07"), Some("03"), None] {
        assert_eq!(decided(&head("v1"), event), Decision::UpToDate, "{event:?}");
    }
    let mut retyped = head("v1");
    retyped.metadata.insert("content-type".to_owned(), "image/png".to_owned());
    let tags = |tags: &[(&str, &str)]| SourceHead {
        tags: tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..head("v1")
    };
    let changes = [
        (head("v2"), "contents"),
        (retyped, "metadata"),
        (tags(&[("team", "red")]), "a tag's value"),
        (tags(&[]), "no tags any more"),
        (tags(&[("team", "blue"), ("a", "b")]), "one tag more"),
    ];
    for (changed, name) in changes {
        assert_eq!(decided(&changed, Some("03")), Decision::Superseded, "{name}");
        for (event, kept) in [(Some("07"), "07"), (None, "05")] {
            let Decision::Copy { source_is, destination_is, metadata } = decided(&changed, event) else {
                panic!("{name} {event:?}")
            };
            assert_eq!((&source_is, destination_is), (&changed.etag, DestinationIs::Unchanged(etag("d1"))));
            assert_eq!(Marker::parse(&metadata[MARKER_NAME]).unwrap().sequencer, Some(sequencer(kept)));
        }
    }
}

#[test]
fn what_came_by_other_means_counts_as_a_copy_only_if_all_agrees() {
    let source = id("prefix/k");
    let plain = SourceHead { tags: vec![], ..head("v1") };
    let same = DestinationHead { etag: etag("v1"), size_bytes: 5, metadata: head("v1").metadata, is_tagged: false };
    assert_eq!(decide(&source, Some(&plain), Some(&same), None), Decision::UpToDate);
    assert!(matches!(decide(&source, Some(&head("v1")), Some(&same), None), Decision::Copy { .. }), "tags are missing");
    let mut broken = same.clone();
    broken.metadata.insert(MARKER_NAME.to_owned(), "2;what;ever".to_owned());
    assert_eq!(decide(&source, Some(&plain), Some(&broken), None), Decision::UpToDate);
    let others = [
        DestinationHead { etag: etag("v0"), ..same.clone() },
        DestinationHead { size_bytes: 6, ..same.clone() },
        DestinationHead { is_tagged: true, ..same.clone() },
        DestinationHead { metadata: Metadata::new(), ..same },
    ];
    for other in others {
        assert!(matches!(decide(&source, Some(&plain), Some(&other), None), Decision::Copy { .. }), "{other:?}");
    }
}

#[test]
fn of_two_sources_with_one_base_name_the_later_wins_and_a_walk_ends() {
    let (a, b) = (id("prefix/x/k"), id("prefix/y/k"));
    let later = SourceHead { modified: "2026-03-02T00:00:00Z".parse().unwrap(), ..head("v2") };
    let there = written(decide(&a, Some(&head("v1")), None, Some(&sequencer("FF"))), "d1");
    // A greater sequencer of another key says nothing.
    let there = written(decide(&b, Some(&later), Some(&there), Some(&sequencer("01"))), "d2");
    assert_eq!(decide(&a, Some(&head("v1")), Some(&there), Some(&sequencer("FF"))), Decision::Superseded);
    assert_eq!(decide(&b, Some(&later), Some(&there), None), Decision::UpToDate);

    // At the same second: one of them wins, whoever is walked first.
    let there_a = written(decide(&a, Some(&head("v1")), None, None), "d");
    let there_b = written(decide(&b, Some(&head("v2")), None, None), "d");
    let b_over_a = decide(&b, Some(&head("v2")), Some(&there_a), None);
    let a_over_b = decide(&a, Some(&head("v1")), Some(&there_b), None);
    assert_ne!(b_over_a == Decision::Superseded, a_over_b == Decision::Superseded);
}

#[test]
fn the_marker_of_a_copy_that_is_a_source_itself_is_not_carried_on() {
    let mut copied = head("v1");
    copied.metadata.insert(MARKER_NAME.to_owned(), "2;00;e;0;FFFF;-".to_owned());
    let there = written(decide(&id("prefix/k"), Some(&copied), None, Some(&sequencer("01"))), "d1");
    assert_eq!(Marker::parse(&there.metadata[MARKER_NAME]).unwrap().sequencer, Some(sequencer("01")));
    assert_eq!(decide(&id("prefix/k"), Some(&copied), Some(&there), None), Decision::UpToDate);
}

proptest! {
    #[test]
    fn a_marker_reads_back_as_it_was_written_and_fits_into_metadata(
        key in "\\PC{1,200}", tag in "[0-9a-f]{32}(-[0-9]{1,5})?", digits in prop::option::of("[0-9A-F]{1,64}")
    ) {
        let marker = Marker::of(&id(&key), &head(&tag), digits.as_deref().and_then(Sequencer::new));
        let text = marker.to_string();
        prop_assert!(text.is_ascii() && text.len() < 200, "{}", text);
        prop_assert_eq!(Marker::parse(&text), Some(marker));
    }

    #[test]
    fn the_order_of_sequencers_is_that_of_padded_texts(a in "[0-9A-F]{1,20}", b in "[0-9A-F]{1,20}") {
        let padded = |text: &str| format!("{text:0<20}");
        prop_assert_eq!(sequencer(&a).cmp(&sequencer(&b)), padded(&a).cmp(&padded(&b)));
    }

    /// One source, overwritten time and again; its events delivered in any order, some twice, each at any time after
    /// its write. When all are delivered, the copy is of the last write.
    #[test]
    fn in_whatever_order_events_come_the_copy_ends_as_the_newest_object(
        writes in 1usize..6, delays in prop::collection::vec(0usize..8, 12)
    ) {
        let source = id("prefix/k");
        let mut deliveries: Vec<(usize, usize)> =
            delays.iter().enumerate().map(|(n, delay)| (n % writes + delay, n % writes)).collect();
        deliveries.sort_by_key(|(at, write)| (*at, writes - write));
        let mut there: Option<DestinationHead> = None;
        let mut newest_copied = 0;
        for (step, (at, write)) in deliveries.into_iter().enumerate() {
            let current = at.min(writes - 1);
            let event = sequencer(&format!("00{write:02X}"));
            let decision = decide(&source, Some(&head(&format!("v{current}"))), there.as_ref(), Some(&event));
            if matches!(decision, Decision::Copy { .. }) {
                prop_assert!(current >= newest_copied);
                newest_copied = current;
                there = Some(written(decision, &format!("d{step}")));
            }
        }
        let last = there.expect("something was copied");
        let marker = Marker::parse(&last.metadata[MARKER_NAME]).unwrap();
        prop_assert_eq!(marker.etag, etag(&format!("v{}", writes - 1)));
    }
}

#[test]
fn tags_in_another_order_are_the_same_and_are_never_taken_for_others() {
    let tags = |tags: &[(&str, &str)]| {
        let tags: Vec<Tag> = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        tags_hash(&tags)
    };
    assert_eq!(tags(&[("a", "1"), ("b", "2")]), tags(&[("b", "2"), ("a", "1")]));
    assert_eq!(tags(&[]), None);
    let others = [tags(&[("a", "1b2")]), tags(&[("a1", ""), ("b", "2")]), tags(&[("a", "2"), ("b", "1")])];
    assert!(others.iter().all(|other| other.is_some() && *other != tags(&[("a", "1"), ("b", "2")])), "{others:?}");
}
