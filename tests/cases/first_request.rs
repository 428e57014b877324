//! From nothing to a first answer, as a newcomer would see it.

use lb_tests::{
    backend::Backend, client, cluster::Cluster, curl::curl, nginx::Nginx, scratch::Scratch,
};

#[tokio::test]
async fn one_document_with_one_backend_is_served_by_every_proxy() {
    let backend = Backend::start("one").await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let mut cluster = Cluster::serving(2, &document).await;

    let addresses = [cluster.web(0).await, cluster.web(1).await];
    assert_ne!(addresses[0], addresses[1], "each proxy picks its own port");
    for address in addresses {
        let response = client::get(address, "shop.example.com", "/cart?items=2").await;
        assert_eq!(response.status, 200, "{response:?}");
        let seen = response.json();
        assert_eq!(seen["backend"], "one");
        assert_eq!(seen["method"], "GET");
        assert_eq!(seen["path"], "/cart?items=2");
        assert_eq!(seen["headers"]["host"], "shop.example.com");
        assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    }
    assert_eq!(backend.requests(), 2);

    // The control plane knows where each of them listens.
    let list = cluster.control_plane().proxies().await;
    let told: Vec<_> =
        list.proxies.iter().map(|proxy| proxy.listeners[0].address.clone()).collect();
    assert_eq!(told, addresses.map(|address| address.to_string()));
}

#[tokio::test]
async fn nginx_answers_curl_through_a_proxy() {
    let scratch = Scratch::new();
    let nginx = Nginx::start(&scratch).await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ nginx: {{ url: \"{}\" }} }}\n",
        nginx.url()
    );
    let cluster = Cluster::serving(1, &document).await;
    let url = format!("http://{}/hello", cluster.web(0).await);
    let answer = curl(&[&url]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "nginx /hello\n"));
    assert_eq!(answer.http_version, "1.1");
}

#[tokio::test]
async fn a_proxy_without_a_configuration_lives_and_is_not_ready() {
    let mut cluster = Cluster::start(1).await;
    let proxy = cluster.proxy(0);
    let (live, _) = proxy.ask("/livez").await.unwrap();
    let (ready, body) = proxy.ask("/readyz").await.unwrap();
    assert_eq!((live, ready), (200, 503));
    assert!(body.contains("no_configuration"), "{body}");
}

#[tokio::test]
async fn bodies_travel_both_ways_and_an_upgrade_becomes_a_tunnel() {
    let backend = Backend::start("one").await;
    let document = format!(
        "entry_points: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         backends: {{ one: {{ url: \"{}\" }} }}\n",
        backend.url()
    );
    let cluster = Cluster::serving(1, &document).await;
    let address = cluster.web(0).await;

    let mut connection = client::Connection::open(address).await.unwrap();
    let request = "POST /form HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello=world";
    connection.send(request).await.unwrap();
    let response = connection.response().await.unwrap();
    assert_eq!(response.json()["body"], "hello=world", "{response:?}");

    let request = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    connection.send(request).await.unwrap();
    assert_eq!(connection.response().await.unwrap().status, 101);
    for word in ["ping", "and again"] {
        connection.send(word).await.unwrap();
        assert_eq!(connection.exactly(word.len()).await.unwrap(), word.as_bytes());
    }
}
