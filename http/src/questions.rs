//! Questions and their answers: clients that ask the same at the same time share one answer, so that a flood of
//! questions costs no more than one after the other, and one body in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::Answer;

/// An answer that is cheap to copy.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
}

impl From<Answer> for Ready {
    fn from(answer: Answer) -> Self {
        let Answer { status, content_type, body } = answer;
        Ready { status, content_type, body: body.into() }
    }
}

impl From<Ready> for Response<Full<Bytes>> {
    fn from(ready: Ready) -> Self {
        let mut response = Response::new(Full::new(ready.body));
        *response.status_mut() = ready.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(ready.content_type));
        response
    }
}

type Open = LocalBoxFuture<'static, Ready>;

/// What makes the answers, and which are being made.
pub(crate) struct Questions {
    answer: Box<dyn Fn(String) -> Open>,
    open: RefCell<BTreeMap<String, WeakShared<Open>>>,
}

impl Questions {
    pub(crate) fn new<F>(answer: impl Fn(String) -> F + 'static) -> Self
    where
        F: Future<Output = Answer> + 'static,
    {
        let answer = move |path| answer(path).map(Ready::from).boxed_local();
        Questions { answer: Box::new(answer), open: RefCell::default() }
    }

    /// The answer for a path: of the question that is open already, or of a new one.
    pub(crate) fn ask(&self, path: &str) -> Shared<Open> {
        let mut open = self.open.borrow_mut();
        // Those whose clients are gone: as many as there are connections at most.
        open.retain(|_, question| question.upgrade().is_some_and(|question| question.peek().is_none()));
        if let Some(question) = open.get(path).and_then(WeakShared::upgrade) {
            return question;
        }
        let question = (self.answer)(path.to_owned()).shared();
        open.extend(question.downgrade().map(|weak| (path.to_owned(), weak)));
        question
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use futures_util::future::join;

    use super::*;

    #[tokio::test]
    async fn equal_questions_at_once_share_an_answer_and_the_next_gets_a_new_one() {
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        let questions = Questions::new(move |path| {
            count.set(count.get() + 1);
            let text = format!("{path} {}", count.get());
            async move {
                tokio::task::yield_now().await;
                Answer::text(StatusCode::OK, text)
            }
        });
        let (a, b) = join(questions.ask("/a"), questions.ask("/a")).await;
        assert_eq!((a.body.as_ref(), b.body.as_ref()), (&b"/a 1\n"[..], &b"/a 1\n"[..]));
        assert_eq!(questions.ask("/a").await.body.as_ref(), b"/a 2\n");
        (0..1000).for_each(|number| drop(questions.ask(&number.to_string())));
        assert!(questions.open.borrow().len() <= 1, "an abandoned question leaves nothing");
    }
}
