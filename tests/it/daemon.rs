//! The daemon as a process: how it starts, how it stops.

use crate::world::World;

#[tokio::test]
async fn healthcheck_fails_where_no_daemon_runs() {
    let world = World::new("nodaemon", "").await;
    let output = world.run(&["healthcheck"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("no daemon is running here"));
}
