//! Scripts: what may happen, in any order. Keys, callers and positions are picked among those there
//! are when a step is played, so that a script stays one when steps are taken out of it.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest_state_machine::ReferenceStateMachine;

use super::model::Model;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// These are asked at once: the writer decides them as one group.
    Group(Vec<Ask>),
    /// The power goes while these are being made durable, just before they are or just after. Nobody
    /// is answered.
    Crash { asked: Vec<Ask>, kept: bool },
    /// The service is stopped in order and started again.
    Restart,
    /// So many seconds pass.
    Wait(i64),
    /// The wall clock is set forward or back by so many seconds.
    SetWall(i64),
    /// A key is presented.
    Present { key: usize, word: usize },
}

/// One command, by picks.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) what: What,
    pub(super) by: usize,
    /// Id and digest.
    pub(super) request: Option<(u8, u8)>,
}

/// What a command asks. Times are seconds from the instant it is asked.
#[derive(Clone, Debug)]
pub(super) enum What {
    Put {
        account: usize,
        plan: Option<usize>,
        permissions: Option<usize>,
        role: Option<bool>,
        status: Option<usize>,
        renamed: bool,
        expects: Option<bool>,
    },
    Create {
        account: usize,
        scopes: Option<usize>,
        expires_in: Option<i64>,
        bulky: bool,
    },
    Update {
        key: usize,
        scopes: Option<usize>,
        expires_in: Option<i64>,
        renamed: bool,
        expects: Option<bool>,
    },
    Disable(usize),
    Enable(usize),
    Rotate {
        key: usize,
        overlap: i64,
    },
    Revoke(usize),
    SetPolicy(usize),
    CreateCaller {
        admin: bool,
        expires_in: Option<i64>,
    },
    RotateCaller(usize),
    Retire(usize),
    RevokeCaller(usize),
    Erase(usize),
    Rehash(usize),
    RehashCaller(usize),
    /// Another pepper is put in force, or the oldest retired: with all that depend on it, or only if none do.
    AgePepper {
        accepted: bool,
    },
}

fn put() -> impl Strategy<Value = What> {
    let plan = option::weighted(0.8, 0..4_usize);
    let (permissions, role) = (option::of(0..4_usize), option::weighted(0.3, any::<bool>()));
    // Mostly active: a closed account has no further story.
    let status = option::weighted(0.3, prop_oneof![5 => Just(0), 4 => Just(1), 1 => Just(2_usize)]);
    let expects = option::weighted(0.2, any::<bool>());
    (0..3_usize, plan, permissions, role, status, any::<bool>(), expects).prop_map(
        |(account, plan, permissions, role, status, renamed, expects)| What::Put {
            account,
            plan,
            permissions,
            role,
            status,
            renamed,
            expects,
        },
    )
}

fn create(account: usize) -> impl Strategy<Value = What> {
    let (scopes, expiry) = (option::weighted(0.4, 0..5_usize), option::weighted(0.4, -1..60_i64));
    (scopes, expiry, 0..5).prop_map(move |(scopes, expires_in, bulk)| What::Create {
        account,
        scopes,
        expires_in,
        bulky: bulk == 4,
    })
}

/// Many keys for one account at once: more than its cap allows, or than fit one frame.
fn burst() -> impl Strategy<Value = Vec<Ask>> {
    let asks = (0..3_usize).prop_flat_map(|account| vec(create(account), 3..9));
    asks.prop_map(|all| all.into_iter().map(|what| Ask { what, by: 0, request: None }).collect())
}

fn what() -> impl Strategy<Value = What> {
    let scopes = || option::weighted(0.4, 0..5_usize);
    let expiry = || option::weighted(0.4, -1..60_i64);
    let expects = option::weighted(0.2, any::<bool>());
    let key = || 0..12_usize;
    prop_oneof![
        5 => put(),
        11 => (0..3_usize).prop_flat_map(create),
        4 => (key(), scopes(), expiry(), any::<bool>(), expects).prop_map(
            |(key, scopes, expires_in, renamed, expects)| {
                What::Update { key, scopes, expires_in, renamed, expects }
            }
        ),
        2 => key().prop_map(What::Disable),
        2 => key().prop_map(What::Enable),
        4 => (key(), 0..40_i64).prop_map(|(key, overlap)| What::Rotate { key, overlap }),
        2 => key().prop_map(What::Revoke),
        1 => (0..3_usize).prop_map(What::SetPolicy),
        2 => (any::<bool>(), expiry())
            .prop_map(|(admin, expires_in)| What::CreateCaller { admin, expires_in }),
        1 => (0..5_usize).prop_map(What::RotateCaller),
        2 => key().prop_map(What::Retire),
        1 => (0..5_usize).prop_map(What::RevokeCaller),
        // Seldom, as an erased account has no further story either.
        1 => (0..3_usize).prop_map(What::Erase),
        4 => key().prop_map(What::Rehash),
        3 => (0..5_usize).prop_map(What::RehashCaller),
        3 => any::<bool>().prop_map(|accepted| What::AgePepper { accepted }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let by = prop_oneof![4 => Just(0_usize), 1 => 0..5_usize];
    let digest = prop_oneof![3 => Just(0_u8), 1 => Just(1_u8)];
    let request = option::weighted(0.3, (0..3_u8, digest));
    (what(), by, request).prop_map(|(what, by, request)| Ask { what, by, request })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => vec(ask(), 1..7).prop_map(Step::Group),
        2 => burst().prop_map(Step::Group),
        3 => (vec(ask(), 0..5), any::<bool>())
            .prop_map(|(asked, kept)| Step::Crash { asked, kept }),
        2 => Just(Step::Restart),
        4 => prop_oneof![9 => 1..25_i64, 1 => Just(86_400_i64)].prop_map(Step::Wait),
        2 => (-60..60_i64).prop_map(Step::SetWall),
        4 => (0..12_usize, 0..4_usize).prop_map(|(key, word)| Step::Present { key, word }),
    ]
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        Just(Model::new()).boxed()
    }

    fn transitions(_: &Model) -> BoxedStrategy<Step> {
        step().boxed()
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        model.play(step);
        model
    }
}
