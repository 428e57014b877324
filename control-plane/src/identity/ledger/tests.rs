use lb_store::MemoryStore;
use rcgen::{CertificateParams, KeyPair};

use super::{super::authority::read_proxy, *};

const LIFE: Duration = Duration::from_hours(24);

async fn ledger(store: &Arc<dyn Store>) -> Ledger {
    Ledger::open(Arc::clone(store), LIFE).await.unwrap()
}

fn request() -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
}

fn named(name: Option<String>) -> Grant {
    Grant { name, ..Grant::default() }
}

#[tokio::test]
async fn a_token_admits_one_proxy_and_decisions_outlive_the_process() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let token = ledger.create_token("ann", Grant::default(), 3_600).await.unwrap();
    let text = token.text.expose_secret();
    let (name, chain) = ledger.enroll(text, &request(), "edge-1").await.unwrap();
    assert_eq!(read_proxy(&chain[0]).unwrap().name, name);
    assert!(ledger.state().admits(&read_proxy(&chain[0]).unwrap()));
    let again = ledger.enroll(text, &request(), "edge-1").await.unwrap_err();
    assert!(matches!(again, LedgerError::Token(InvalidToken::Used)), "{again}");
    let reopened = self::ledger(&store).await;
    assert!(reopened.state().is_member("edge-1"));
    assert_eq!(
        reopened.state().authorities.trust().unwrap(),
        ledger.state().authorities.trust().unwrap()
    );
}

#[tokio::test]
async fn whoever_did_not_hear_the_answer_may_ask_again() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let token = ledger.create_token("ann", Grant::default(), 3_600).await.unwrap();
    let (text, request) = (token.text.expose_secret(), request());
    let (name, _) = ledger.enroll(text, &request, "edge").await.unwrap();
    let (again, chain) = ledger.enroll(text, &request, "edge").await.unwrap();
    assert_eq!(again, name);
    assert!(ledger.state().admits(&read_proxy(&chain[0]).unwrap()));
    assert_eq!(ledger.state().proxies.len(), 1);
    ledger.revoke_proxy("ann", &name).await.unwrap();
    let after = ledger.enroll(text, &request, "edge").await.unwrap_err();
    assert!(matches!(after, LedgerError::Token(InvalidToken::Used)), "{after}");
}

#[tokio::test]
async fn names_are_unique_unless_a_token_is_for_one() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let mut names = Vec::new();
    for name in [None, None, Some("edge".to_owned())] {
        let token = ledger.create_token("ann", named(name), 3_600).await.unwrap();
        let joined = ledger.enroll(token.text.expose_secret(), &request(), "edge/../x").await;
        names.push(joined.unwrap().0);
    }
    assert_eq!(names, ["edge..x", "edge..x-2", "edge"]);
}

#[tokio::test]
async fn a_revoked_proxy_gets_no_certificate() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let token = ledger.create_token("ann", Grant::default(), 3_600).await.unwrap();
    ledger.enroll(token.text.expose_secret(), &request(), "edge").await.unwrap();
    assert!(ledger.renew("edge", &request()).is_ok());
    ledger.revoke_proxy("ann", "edge").await.unwrap();
    assert!(ledger.renew("edge", &request()).is_err());
    assert!(ledger.renew("nobody", &request()).is_err());
    assert!(ledger.revoke_proxy("ann", "nobody").await.is_err());
}

#[tokio::test]
async fn a_certificate_of_an_earlier_membership_opens_nothing() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let join = async || {
        let grant = named(Some("edge".to_owned()));
        let token = ledger.create_token("ann", grant, 3_600).await.unwrap();
        let joined = ledger.enroll(token.text.expose_secret(), &request(), "").await;
        read_proxy(&joined.unwrap().1[0]).unwrap()
    };
    let mut stolen = join().await;
    assert!(ledger.state().admits(&stolen));
    ledger.revoke_proxy("ann", "edge").await.unwrap();
    assert!(!ledger.state().admits(&stolen));
    let next = join().await;
    assert!(ledger.state().admits(&next), "another proxy has the name now");
    stolen.issued_at = next.issued_at - 1;
    assert!(!ledger.state().admits(&stolen));
}

#[tokio::test]
async fn labels_are_those_of_the_token_for_as_long_as_the_membership_lasts() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ledger = ledger(&store).await;
    let join = async |labels: &[&str]| {
        let labels = Labels::grant(labels).unwrap();
        let grant = Grant { name: Some("edge".to_owned()), labels };
        let token = ledger.create_token("ann", grant, 3_600).await.unwrap();
        let joined = ledger.enroll(token.text.expose_secret(), &request(), "").await;
        read_proxy(&joined.unwrap().1[0]).unwrap()
    };
    let first = join(&["edge", "eu"]).await;
    assert_eq!(first.labels.to_strings(), ["edge", "eu"]);
    let reopened = self::ledger(&store).await;
    for ledger in [&ledger, &reopened] {
        let renewed = ledger.renew("edge", &request()).unwrap();
        assert_eq!(read_proxy(&renewed[0]).unwrap().labels, first.labels);
        assert!(ledger.state().admits(&first));
    }
    let second = join(&["inner"]).await;
    assert_eq!(second.labels.to_strings(), ["inner"]);
    assert!(ledger.state().admits(&second));
    assert!(!ledger.state().admits(&first), "even within the same second");
}
