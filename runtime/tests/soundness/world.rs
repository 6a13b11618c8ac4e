//! The circuits that the lies are about, with their committed weights, and a prover to be led astray.

use std::sync::LazyLock;

use mlc_circuit::{
    Access, AxisMap, Circuit, Instance, Label, Len, Operand, Outer, Product, Reads, Segment, WeightLayout, format,
};
use mlc_runtime::backend::cpu::Cpu;
use mlc_runtime::exec::{Execution, execute};
use mlc_runtime::prover::channel::{Honest, Tamper};
use mlc_runtime::prover::commitment::{Committed, TreeStore, commit};
use mlc_runtime::prover::inference::{self, CommittedCache, CommittedWeights};
use mlc_runtime::prover::relations::weight_cells;
use mlc_runtime::testing::{self, Activation, Builder, Case, Conv, plain};
use mlc_runtime::weights::IntWeights;
use mlc_verifier::field::M31;
use mlc_verifier::inference::VerifyError;
use mlc_verifier::key::{Key, LoadedKey};
use mlc_verifier::security::{Parameters, Schedule, weights_shape};
use mlc_verifier::statement::Statement;
use mlc_verifier::transcript::Hash;

use crate::liar::{Row, tell};

/// A circuit with all features: private and public inputs, convolution, max pooling, linear layers with biases, repeated
/// residual blocks, equations with and without products and lookups.
pub(crate) fn everything() -> Case {
    let mut b = Builder::new("everything", 5);
    b.table_bits = 8;
    let rows = b.dim("batch", 4);
    let image = [rows.clone(), Len::fixed(2), Len::fixed(4), Len::fixed(4)];
    let x = b.private_input("image", &image, 0, 4);

    let conv = Conv {
        pad: 1,
        ..Conv::new(4, 3)
    };
    let (source, product) = b.conv("conv", &x, conv, 4);
    let bias = b.bias("conv.bias", 1, 4, 6);
    let leading = [rows.clone(), Len::fixed(4), Len::fixed(2), Len::fixed(2)];
    let window = |o: u8, k: u8| AxisMap::Affine {
        offset: 0,
        parts: vec![(o, 2), (k, 1)],
    };
    let windows = Access {
        axes: vec![AxisMap::iter(0), AxisMap::iter(1), window(2, 4), window(3, 5)],
        gates: Vec::new(),
    };
    let relu = Activation::Relu(31);
    let pooled = b.requant_max(
        "conv",
        &source,
        (vec![], vec![product, bias]),
        &leading,
        &[2, 2],
        windows,
        relu,
    );

    let side = b.input("side", &[rows.clone(), Len::fixed(8)], -16, 15);
    let (out, product) = b.linear("stem", &pooled, 3, 8, 4);
    let stem = b.requant(
        "stem",
        &out,
        vec![plain(side.whole())],
        vec![product],
        Activation::Clamp(7),
    );

    let blocks = 3;
    let axes = [Len::fixed(blocks), rows, Len::fixed(8)];
    let up = b.weight("up", &[blocks, 8], 8, 4);
    let down = b.weight("down", &[blocks, 8], 8, 4);
    let layer = |reads, weight| Product {
        coefficient: 1,
        shared: vec![0],
        group: vec![Len::fixed(8)],
        a: Operand::Reads(reads),
        b: Operand::Weight {
            weight,
            outer: vec![Outer::axis(0), Outer::axis(2)],
        },
    };
    let o = b.declare("o", &axes, Activation::Clamp(31));
    let before = Access {
        axes: vec![AxisMap::Before { iter: 0 }, AxisMap::iter(1), AxisMap::iter(3)],
        gates: Vec::new(),
    };
    let stream = vec![stem.read(1, Access::axes(&[1, 3])), o.read(1, before)];
    b.begin_repeat(blocks as u32);
    let h = b.requant("up", &axes, vec![], vec![layer(stream, up)], relu);
    let h = h.read(1, Access::axes(&[0, 1, 3]));
    b.define("o", &o, vec![], vec![layer(vec![h], down)]);
    b.end_repeat();
    let sum = Reads {
        reduce: vec![Len::fixed(blocks)],
        read: o.read(1, Access::axes(&[2, 0, 1])),
    };

    let (out, product) = b.linear("head", &stem, 1, 8, 4);
    let head = b.requant("head", &out, vec![sum.clone()], vec![product], relu);
    let (out, product) = b.linear("logits", &head, 1, 5, 4);
    let bias = b.bias("logits.bias", 1, 5, 6);
    b.output("logits", &out, vec![], vec![product, bias], Label::ArgMax);
    b.output(
        "stream",
        &stem.axes,
        vec![plain(stem.whole()), sum],
        vec![],
        Label::None,
    );
    b.output("echo", &side.axes, vec![plain(side.whole())], vec![], Label::None);
    Case::new(b, &[3])
}

/// Parameters so demanding that a nonce stands before every challenge.
pub(crate) const STRICT: Parameters = Parameters {
    term_bits: 122,
    weights_log_inv_rate: 3,
    witness_log_inv_rate: 2,
};

/// [`everything`] under the default parameters.
pub(crate) static EVERYTHING: LazyLock<World> = LazyLock::new(|| World::new(everything(), Parameters::default()));
/// [`everything`] with every nonce.
pub(crate) static NONCES: LazyLock<World> = LazyLock::new(|| World::new(everything(), STRICT));
/// A circuit wide enough that its opening commits to folded vectors.
pub(crate) static WIDE: LazyLock<World> =
    LazyLock::new(|| World::new(testing::linear_relu(4, 1000, 60, 10), Parameters::default()));

/// A circuit with committed weights and an honest run.
pub(crate) struct World {
    pub(crate) case: Case,
    pub(crate) loaded: LoadedKey,
    pub(crate) cells: Vec<M31>,
    pub(crate) tree: Committed,
    pub(crate) execution: Execution,
    pub(crate) statement: Statement,
}

/// The committed cells of weights.
pub(crate) fn cells_of(circuit: &Circuit, weights: &IntWeights) -> Vec<M31> {
    let lens: Vec<usize> = circuit.weights.iter().map(|w| w.row_len as usize).collect();
    weight_cells(&WeightLayout::new(circuit), &lens, weights)
}

/// The tree of committed cells.
pub(crate) fn tree_of(circuit: &Circuit, params: &Parameters, cells: &Vec<M31>) -> Committed {
    let shape = weights_shape(&WeightLayout::new(circuit), params).unwrap();
    commit(&Cpu, cells, shape)
}

impl World {
    pub(crate) fn new(case: Case, params: Parameters) -> Self {
        mlc_circuit::check::check(&case.circuit).unwrap();
        let cells = cells_of(&case.circuit, &case.weights);
        let tree = tree_of(&case.circuit, &params, &cells);
        let instance = case.circuit.instantiate(0, &case.dims).unwrap();
        let execution = execute(&instance, &case.weights, &case.inputs).unwrap();
        let statement = inference::statement(&instance, &case.inputs, &execution, None);
        let key = Key {
            circuit: format::encode(&case.circuit),
            params,
            weights_root: Some(tree.root()),
            setup_proof: Vec::new(),
        };
        let world = Self {
            loaded: LoadedKey {
                circuit: case.circuit.clone(),
                digest: format::digest(&case.circuit),
                params,
                weights_root: key.weights_root,
                fingerprint: key.fingerprint(),
            },
            case,
            cells,
            tree,
            execution,
            statement,
        };
        assert_eq!(Liar::new(&world).outcome(&mut Honest), Ok(()), "the honest proof");
        world
    }

    pub(crate) fn instance(&self) -> Instance<'_> {
        self.loaded.circuit.instantiate(0, &self.case.dims).unwrap()
    }

    pub(crate) fn schedule(&self) -> Schedule {
        Schedule::new(&self.instance(), &self.loaded.params).unwrap()
    }

    /// Tells lies to the verifier, one at a time.
    pub(crate) fn refuses(&'static self, lies: &[Row<Liar<'static>, VerifyError>]) {
        tell(lies, |lie| {
            let mut liar = Liar::new(self);
            lie(&mut liar);
            liar.outcome(&mut Honest)
        });
    }

    /// The index of a segment.
    pub(crate) fn segment(&self, name: &str) -> usize {
        let named = |s: &Segment| s.name == name;
        self.case.circuit.entries[0].segments.iter().position(named).unwrap()
    }
}

/// What a prover runs with: the truth, until a test changes it.
pub(crate) struct Liar<'w> {
    pub(crate) world: &'w World,
    /// The circuit that the prover runs; the verifier has the world's.
    pub(crate) circuit: Circuit,
    /// The integers that the prover computes with.
    pub(crate) weights: IntWeights,
    /// The cells that it opens.
    pub(crate) cells: Vec<M31>,
    /// Their tree, where it is not the committed one.
    pub(crate) tree: Option<Committed>,
    pub(crate) execution: Execution,
    pub(crate) statement: Statement,
}

impl<'w> Liar<'w> {
    pub(crate) fn new(world: &'w World) -> Self {
        Self {
            world,
            circuit: world.case.circuit.clone(),
            weights: world.case.weights.clone(),
            cells: world.cells.clone(),
            tree: None,
            execution: world.execution.clone(),
            statement: world.statement.clone(),
        }
    }

    /// Executes again what the prover has, from the world's inputs, and states the outcome.
    pub(crate) fn execute(&mut self) {
        let instance = self.circuit.instantiate(0, &self.world.case.dims).unwrap();
        self.execution = execute(&instance, &self.weights, &self.world.case.inputs).unwrap();
        self.statement = inference::statement(&instance, &self.world.case.inputs, &self.execution, None);
    }

    pub(crate) fn prove(&self, tamper: &mut dyn Tamper) -> Vec<u8> {
        let world = self.world;
        let instance = self.circuit.instantiate(0, &world.case.dims).unwrap();
        let disguised = self.tree.as_ref().map(|tree| Disguised {
            tree,
            root: world.tree.root(),
        });
        let tree: &dyn TreeStore = match &disguised {
            Some(d) => d,
            None => &world.tree,
        };
        let weights = CommittedWeights::<Cpu> {
            integers: &self.weights,
            cells: Some(&self.cells),
            tree: Some(tree),
        };
        inference::prove(
            &Cpu,
            &instance,
            &Schedule::new(&instance, &world.loaded.params).unwrap(),
            &world.loaded.digest,
            &weights,
            &CommittedCache::none(),
            &self.statement,
            &self.execution,
            tamper,
            None,
        )
    }

    /// What the verifier says.
    pub(crate) fn outcome(&self, tamper: &mut dyn Tamper) -> Result<(), VerifyError> {
        self.world.loaded.verify(&self.statement, &self.prove(tamper))
    }
}

/// A tree that pretends to another root.
pub(crate) struct Disguised<'t> {
    pub(crate) tree: &'t Committed,
    pub(crate) root: Hash,
}

impl TreeStore for Disguised<'_> {
    fn shape(&self) -> mlc_verifier::commitment::TreeShape {
        self.tree.shape()
    }
    fn append_column(&self, position: usize, out: &mut Vec<u8>) {
        self.tree.append_column(position, out);
    }
    fn node(&self, layer: u32, index: usize) -> Hash {
        self.tree.node(layer, index)
    }
    fn root(&self) -> Hash {
        self.root
    }
}
