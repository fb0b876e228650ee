//! Connections on the local stack, with several environments and a real authorization server.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use clawbridge_connections::record::Status;
use clawbridge_connections::version::VersionId;
use clawbridge_connections::{Happening, Unusable};
use clawbridge_oauth::TokenSet;
use support::{LEFT, Server, Stack, name};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tasks_in_four_environments_make_one_refresh() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let environments: Vec<_> = (0..4).map(|_| stack.environment()).collect();
    let providers = server.providers();
    environments[0].connections.connect(&name(), server.consent(0), vec!["read".to_owned()]).await.unwrap();
    server.hold_back(&environments);
    let mut tasks = JoinSet::new();
    for task in 0..200 {
        let (connections, providers) = (environments[task % 4].connections.clone(), providers.clone());
        tasks.spawn(async move { connections.token(&providers, &name(), LEFT).await });
    }
    for token in tasks.join_all().await {
        let token = token.unwrap();
        assert_eq!((token.value(), token.generation()), ("a2", 2));
    }
    assert_eq!(server.requests(), 1);
    let record = environments[3].connections.show(&name()).await.unwrap().unwrap();
    assert_eq!((record.status, record.generation, record.lease, record.failures), (Status::Active, 2, None, 0));
    // And from then on nothing is called at all.
    for environment in &environments {
        environment.calls();
        for _ in 0..50 {
            environment.connections.token(&providers, &name(), LEFT).await.unwrap();
        }
        assert_eq!(environment.calls(), 0);
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn what_a_refresher_stored_before_it_died_is_put_in_use_and_nothing_is_asked() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let connections = stack.environment().connections;
    let first = connections.connect(&name(), server.consent(0), Vec::new()).await.unwrap();
    let record = connections.show(&name()).await.unwrap().unwrap();
    let set = TokenSet { generation: first.generation() + 1, ..server.consent(3600) };
    let next: VersionId = record.version.unwrap().next();
    let put = stack.secrets.put_secret_value().secret_id("clawbridge/connections/acme/main").secret_string(set.write());
    put.client_request_token(next.as_str()).version_stages("CLAWBRIDGE_PENDING").send().await.unwrap();
    let token = stack.environment().connections.token(&server.providers(), &name(), LEFT).await.unwrap();
    assert_eq!((token.value(), token.generation()), ("a2", 2));
    assert_eq!(server.requests(), 0);
    let record = connections.show(&name()).await.unwrap().unwrap();
    assert_eq!((record.version, record.generation), (Some(next), 2));
}

#[tokio::test]
async fn a_refused_refresh_token_is_told_once_it_is_believed_and_a_consent_makes_it_good() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let (connections, providers) = (stack.environment().connections, server.providers());
    let stolen = server.consent(0);
    connections.connect(&name(), stolen, Vec::new()).await.unwrap();
    // Another consent elsewhere: the server does not know the first refresh token any more.
    let good = server.consent(3600);
    for _ in 0..2 {
        let unusable = connections.token(&providers, &name(), LEFT).await.unwrap_err();
        assert!(matches!(&unusable, Unusable::NeedsReauth { code, .. } if code == "invalid_grant"), "{unusable:?}");
    }
    assert_eq!(server.requests(), 1);
    let expired = Happening::Expired { name: name(), generation: 1, code: "invalid_grant".to_owned() };
    assert_eq!(connections.happenings(), std::slice::from_ref(&expired));
    // Whoever was to tell it died; the schedule does, until it is told.
    let other = stack.environment().connections;
    for _ in 0..2 {
        other.sweep(&providers, LEFT).await.unwrap();
        assert_eq!(other.happenings(), std::slice::from_ref(&expired));
    }
    other.told(&expired).await.unwrap();
    other.sweep(&providers, LEFT).await.unwrap();
    assert_eq!(other.happenings(), []);
    connections.connect(&name(), good, Vec::new()).await.unwrap();
    assert_eq!(other.token(&providers, &name(), LEFT).await.unwrap().value(), "a2");
    assert_eq!(connections.show(&name()).await.unwrap().unwrap().status, Status::Active);
}

#[tokio::test]
async fn what_is_taken_back_is_gone_and_can_be_connected_again() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let (connections, providers) = (stack.environment().connections, server.providers());
    assert_eq!(connections.token(&providers, &name(), LEFT).await.unwrap_err(), Unusable::NotConnected(name()));
    connections.connect(&name(), server.consent(3600), Vec::new()).await.unwrap();
    let held = connections.revoke(&name()).await.unwrap().unwrap();
    assert_eq!(held.access_token, "a1");
    assert_eq!(connections.revoke(&name()).await.unwrap(), None);
    for connections in [&connections, &stack.environment().connections] {
        assert_eq!(connections.token(&providers, &name(), LEFT).await.unwrap_err(), Unusable::NotConnected(name()));
    }
    let token = connections.connect(&name(), server.consent(3600), Vec::new()).await.unwrap();
    assert!(token.generation() > 1);
    // A deletion that comes late is taken back, for the table knows better.
    stack.secrets.delete_secret().secret_id("clawbridge/connections/acme/main").send().await.unwrap();
    assert_eq!(stack.environment().connections.token(&providers, &name(), LEFT).await.unwrap().value(), "a2");
}

#[tokio::test]
async fn a_token_that_the_resource_refuses_is_refreshed_once() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let (connections, providers) = (stack.environment().connections, server.providers());
    let first = connections.connect(&name(), server.consent(3600), Vec::new()).await.unwrap();
    let second = connections.refused(&providers, &name(), &first, LEFT).await.unwrap().unwrap();
    assert_eq!(second.value(), "a2");
    // Somebody else who was refused with the first gets the second without a request.
    assert_eq!(connections.refused(&providers, &name(), &first, LEFT).await.unwrap().unwrap().value(), "a2");
    let other = stack.environment().connections;
    assert_eq!(other.refused(&providers, &name(), &first, LEFT).await.unwrap().unwrap().value(), "a2");
    assert_eq!(server.requests(), 1);
    server.books.lock().unwrap().instead = vec![(503, "")];
    assert!(matches!(connections.refused(&providers, &name(), &second, LEFT).await, Err(Unusable::Later { .. })));
    assert!(connections.refused(&providers, &name(), &second, LEFT).await.unwrap().is_none());
    assert_eq!(server.requests(), 2);
    // A person who wants it insists, also within the pause.
    assert_eq!(connections.refresh(&providers, &name(), LEFT).await.unwrap().value(), "a3");
}

#[tokio::test]
async fn a_provider_that_wants_to_be_left_alone_is_by_all_environments() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let providers = server.providers();
    stack.environment().connections.connect(&name(), server.consent(0), Vec::new()).await.unwrap();
    server.books.lock().unwrap().instead = vec![(429, "retry-after: 90\r\n")];
    for _ in 0..3 {
        let unusable = stack.environment().connections.token(&providers, &name(), LEFT).await.unwrap_err();
        assert!(matches!(&unusable, Unusable::Later { code, .. } if code == "RATE_LIMITED"), "{unusable:?}");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn the_clients_previous_secret_is_tried_where_its_current_one_is_refused() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let (connections, providers) = (stack.environment().connections, server.providers());
    connections.connect(&name(), server.consent(0), Vec::new()).await.unwrap();
    stack.aws.secrets().put("clawbridge/providers/acme", "not known to the provider yet").unwrap();
    assert_eq!(connections.token(&providers, &name(), LEFT).await.unwrap().value(), "a2");
    assert_eq!(server.requests(), 2);
    server.books.lock().unwrap().client_secret = "a third".to_owned();
    assert!(
        matches!(connections.refresh(&providers, &name(), LEFT).await, Err(Unusable::Later { code, .. }) if code == "invalid_client")
    );
    assert_eq!(connections.show(&name()).await.unwrap().unwrap().status, Status::Active);
}

#[tokio::test]
async fn the_schedule_refreshes_what_expires_soon_and_lists_by_pages() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let (connections, providers) = (stack.environment().connections, server.providers());
    connections.connect(&"acme/z".parse().unwrap(), server.consent(3600), Vec::new()).await.unwrap();
    connections.connect(&name(), server.consent(60), Vec::new()).await.unwrap();
    let swept = stack.environment().connections.sweep(&providers, LEFT).await.unwrap();
    assert_eq!((swept.seen, swept.refreshed, swept.failed.len()), (2, 1, 0));
    assert_eq!(server.requests(), 1);
    let first = connections.list(None, 1).await.unwrap();
    assert_eq!(first.next, Some(name()));
    let second = connections.list(first.next.as_ref(), 100).await.unwrap();
    assert_eq!((second.records.len(), second.next.is_none()), (1, true));
    let tokens = format!("{:?}{:?}", first.records, second.records);
    assert!(!tokens.contains("\"a1\"") && !tokens.contains("\"r1\""), "{tokens}");
}

#[tokio::test]
async fn a_grant_without_a_person_connects_itself_once_and_not_after_it_was_taken_back() {
    let (stack, server) = (Stack::start().await, Server::start().await);
    let providers = server.providers_of("client_credentials");
    let environments = [stack.environment(), stack.environment()];
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let (connections, providers) = (environments[task % 2].connections.clone(), providers.clone());
        tasks.spawn(async move { connections.token(&providers, &name(), LEFT).await });
    }
    for token in tasks.join_all().await {
        assert_eq!(token.unwrap().value(), "a1");
    }
    assert_eq!(server.requests(), 1);
    let connections = &environments[0].connections;
    let again = connections.refresh(&providers, &name(), LEFT).await.unwrap();
    assert_eq!((again.value(), again.generation()), ("a2", 2));
    connections.revoke(&name()).await.unwrap();
    let unusable = stack.environment().connections.token(&providers, &name(), LEFT).await.unwrap_err();
    assert_eq!(unusable, Unusable::NotConnected(name()));
}
