use super::*;

#[test]
fn a_star_stands_for_any_run_of_characters() {
    let check = |glob: &str, arn: &str, want: bool| {
        assert_eq!(PrincipalPattern::new(glob).matches(arn), want, "{glob} {arn}");
    };
    check("arn:aws:iam::1:user/bob", "arn:aws:iam::1:user/bob", true);
    check("arn:aws:iam::1:user/bob", "arn:aws:iam::1:user/bobby", false);
    check("arn:aws:iam::1:user/*", "arn:aws:iam::1:user/", true);
    check("*", "", true);
    check("", "a", false);
    check("*:user/*b*b", "arn:aws:iam::1:user/abcb", true);
    check("*:user/*b*b", "arn:aws:iam::1:user/abc", false);
    check("a*b", "aXbXb", true);
    check("a**", "a", true);
}

#[test]
fn ones_own_identity_is_every_session_of_the_role_and_the_role() {
    let own = PrincipalPattern::own_identity("arn:aws-cn:sts::123456789012:assumed-role/tierd/i-0abc");
    let check = |arn: &str, want: bool| assert_eq!(own.matches(arn), want, "{arn}");
    check("arn:aws-cn:sts::123456789012:assumed-role/tierd/i-0abc", true);
    check("arn:aws-cn:sts::123456789012:assumed-role/tierd/another", true);
    check("arn:aws-cn:iam::123456789012:role/tierd", true);
    check("arn:aws-cn:iam::123456789012:role/service/deep/tierd", true);
    check("arn:aws-cn:sts::123456789012:assumed-role/tierd-web/i-0abc", false);
    check("arn:aws-cn:iam::123456789012:role/not-tierd", false);
    check("arn:aws-cn:sts::210987654321:assumed-role/tierd/i-0abc", false);
    check("arn:aws:sts::123456789012:assumed-role/tierd/i-0abc", false);

    let user = PrincipalPattern::own_identity("arn:aws:iam::1:user/tierd");
    assert!(user.matches("arn:aws:iam::1:user/tierd"));
    assert!(!user.matches("arn:aws:iam::1:user/tierd2"));
}

#[test]
fn the_parts_of_an_identity_do_not_run_into_each_other() {
    assert_ne!(EventIdentity::of_parts(["ab", "c"]), EventIdentity::of_parts(["a", "bc"]));
    assert_ne!(EventIdentity::of_parts(["a", ""]), EventIdentity::of_parts(["a"]));
    let id = "b5b9b4c7-aa70-4a5c-8ed8-4ab3c1df7e4f";
    assert_eq!(EventIdentity::of_event_id(id), EventIdentity(0xb5b9b4c7_aa70_4a5c_8ed8_4ab3c1df7e4f));
    assert_ne!(EventIdentity::of_event_id(&id.to_uppercase()), EventIdentity::of_event_id(id));
}

#[test]
fn what_can_be_no_object_is_refused() {
    let mut file = FileAccesses::default();
    assert!(file.push("bucket", "", DateTime::UNIX_EPOCH, None, 0, 0).is_err());
    assert!(file.push("bucket", &"k".repeat(1025), DateTime::UNIX_EPOCH, None, 0, 0).is_err());
    assert!(file.push("b", "k", DateTime::UNIX_EPOCH, None, 0, 0).is_err());
    assert!(file.push("no bucket", "k", DateTime::UNIX_EPOCH, None, 0, 0).is_err());
    assert!(file.is_empty());
}
