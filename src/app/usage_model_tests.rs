//! Questions on uses wait for the projection, and not for ever.

use super::*;
use crate::projection::usage::testing::Ground;

fn at(position: u64) -> Option<Position> {
    Position::new(position)
}

fn model(patience: Duration) -> UsageModel {
    UsageModel { patience, ..UsageModel::new(&UsageSettings::default()) }
}

#[tokio::test]
async fn a_question_waits_until_what_was_in_the_log_when_it_came_is_folded() {
    let (ground, model) = (Ground::new(), model(Duration::MAX));
    let store = ground.store();
    model.show(Some(store.reader()), at(1));
    assert!(model.reader_at(at(1)).await.is_some());
    let question = model.reader_at(at(3));
    let mut question = std::pin::pin!(question);
    for reached in [1, 2, 3] {
        model.reached.send_replace(at(reached));
        let answer =
            std::future::poll_fn(|context| std::task::Poll::Ready(question.as_mut().poll(context)));
        assert_eq!(answer.await.is_ready(), reached == 3, "{reached}");
    }
}

#[tokio::test]
async fn a_question_waits_for_no_longer_than_its_patience_and_not_at_all_while_folding_fails() {
    let (ground, mut model) = (Ground::new(), model(Duration::from_millis(1)));
    let store = ground.store();
    model.show(Some(store.reader()), at(1));
    assert!(model.reader_at(at(2)).await.is_none());
    model.patience = Duration::MAX;
    model.failing.store(true, Ordering::Relaxed);
    assert!(model.reader_at(at(2)).await.is_none());
    assert!(model.reader_at(at(1)).await.is_some(), "what is there is answered");
}
