//! Operators: one table from names to translations, and the hint for every other name.

mod activation;
mod arithmetic;
mod choice;
mod constant;
mod convolution;
mod index;
mod linear;
mod normalisation;
mod pool;
mod quantisation;
mod reduction;
mod shape;

use super::context::Context;
use super::node::Node;
use super::value::Value;
use crate::error::NodeError;

/// The values of a node's outputs.
pub(super) type Outputs = Result<Vec<Value>, NodeError>;

/// Translates one node.
pub(super) type Translate = fn(&mut Context<'_, '_>, &Node<'_>) -> Outputs;

/// The translation of the standard operator `name`.
pub(super) fn translation(name: &str) -> Option<Translate> {
    Some(match name {
        "Abs" | "Ceil" | "Celu" | "Cos" | "Elu" | "Erf" | "Exp" | "Floor" | "Gelu" | "HardSigmoid" | "HardSwish"
        | "IsNaN" | "LeakyRelu" | "Log" | "Mish" | "Neg" | "Not" | "Reciprocal" | "Relu" | "Round" | "Selu"
        | "Sigmoid" | "Sign" | "Sin" | "Softplus" | "Softsign" | "Sqrt" | "Swish" | "Tanh" | "ThresholdedRelu" => {
            activation::function
        }
        "Clip" => activation::clip,
        "PRelu" => activation::prelu,
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Min" | "Max" | "Sum" | "Mean" => arithmetic::arithmetic,
        "And" | "Or" | "Equal" | "Less" | "LessOrEqual" | "Greater" | "GreaterOrEqual" => choice::compare,
        "Where" => choice::choose,
        "Constant" => constant::constant,
        "ConstantOfShape" => constant::constant_of_shape,
        "Range" => constant::range,
        "Conv" => convolution::conv,
        "Gather" => index::gather,
        "GatherElements" => index::gather_elements,
        "Slice" => index::slice,
        "Split" => index::split,
        "Gemm" => linear::gemm,
        "MatMul" => linear::matmul,
        "BatchNormalization" => normalisation::batch_norm,
        "LayerNormalization" => normalisation::layer_norm,
        "Softmax" => normalisation::softmax,
        "LogSoftmax" => normalisation::log_softmax,
        "ArgMax" => normalisation::argmax,
        "MaxPool" => pool::max,
        "AveragePool" => pool::average,
        "GlobalAveragePool" => pool::global_average,
        "GlobalMaxPool" => pool::global_max,
        "QuantizeLinear" => quantisation::quantise,
        "DequantizeLinear" => quantisation::dequantise,
        "ReduceMean" | "ReduceSum" | "ReduceMax" | "ReduceMin" | "ReduceSumSquare" | "ReduceL2" | "ReduceProd" => {
            reduction::reduce
        }
        "Cast" | "CastLike" | "Identity" | "Dropout" => shape::same,
        "Concat" => shape::concat,
        "Expand" => shape::expand,
        "Flatten" => shape::flatten,
        "Pad" => shape::pad,
        "Reshape" => shape::reshape,
        "Shape" => shape::shape,
        "Size" => shape::size,
        "Squeeze" => shape::squeeze,
        "Tile" => shape::tile,
        "Transpose" => shape::transpose,
        "Unsqueeze" => shape::unsqueeze,
        _ => return None,
    })
}

/// The nearest thing that works, for an operator without a translation.
pub(super) fn hint(operator: &str, domain: &str) -> String {
    let text = match operator {
        _ if !super::graph::is_standard(domain) => {
            return format!(
                "it is of the domain `{domain}`: export it as standard operators, or write the layer in `.mlc`, where any \
                 elementwise function is a formula"
            );
        }
        "ConvTranspose" | "Resize" | "Upsample" | "DepthToSpace" => {
            "upsample by Expand and Reshape (nearest neighbour), followed by Conv"
        }
        "ConvInteger" | "QLinearConv" => "quantise in QDQ format (QuantizeLinear, DequantizeLinear around Conv)",
        "MatMulInteger" | "QLinearMatMul" | "DynamicQuantizeLinear" | "QGemm" => {
            "use static quantisation in QDQ format: QuantizeLinear and DequantizeLinear around MatMul or Gemm"
        }
        "LSTM" | "GRU" | "RNN" | "Scan" | "Loop" | "If" => {
            "networks without recurrence and branches work: unroll the steps, or export the branch that is taken"
        }
        "InstanceNormalization" | "GroupNormalization" | "LpNormalization" | "MeanVarianceNormalization" => {
            "BatchNormalization and LayerNormalization work, and ReduceMean, Sub, Mul, Sqrt, Div spell out the others"
        }
        "LRN" => "BatchNormalization works",
        "Hardmax" => "ArgMax and Softmax work",
        "TopK" | "NonMaxSuppression" | "NonZero" | "Unique" | "Compress" => {
            "ArgMax works; leave post-processing out of the exported model"
        }
        "Einsum" => "MatMul, Transpose and Reshape work",
        "ArgMin" => "ArgMax of Neg works",
        "LpPool" | "MaxRoiPool" | "RoiAlign" | "GlobalLpPool" => "MaxPool and AveragePool work",
        "GatherElements" | "GatherND" | "Scatter" | "ScatterElements" | "ScatterND" | "OneHot" => {
            "Gather with constant indices, or of a weight with the input's tokens, works"
        }
        "Det" | "MatrixInverse" => "MatMul, Mul and ReduceSum work",
        "Mod" | "BitShift" | "Sinh" | "Cosh" | "Tan" | "Asin" | "Acos" | "Atan" | "Asinh" | "Acosh" | "Atanh" => {
            "Exp, Log, Tanh, Erf, Sin, Cos, Pow and arithmetic work, and any formula in `.mlc`"
        }
        "CumSum" => "MatMul with a constant triangular matrix works",
        _ => {
            "Gemm, MatMul, Conv, pooling, normalisation, activations and reshaping work; any elementwise function can be \
              written as a formula in `.mlc`"
        }
    };
    text.to_owned()
}
