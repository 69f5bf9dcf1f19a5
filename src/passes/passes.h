// The passes: each takes a Graph and changes it in place; running one twice changes nothing more. Their order is in compiler/pipeline.cc. What they
// know of the machine is a Target's.
#pragma once

#include "ir/graph.h"
#include "ir/target.h"
#include "vivace/compile.h"

namespace vivace {

class WeightStack;

// Every weight node becomes what `weights` says of it: ops over the nodes of stored tensors where it is not as stored. Before all others.
void resolve_weights(Graph& graph, const WeightStack& weights);
// Casts the small constant operands that kernels read as float32 (biases, norm weights). Required, first.
void float32_operands(Graph& graph);
// Two nodes that compute the same become one.
void eliminate_common_subexpressions(Graph& graph);
// Casts, views, transpositions and scalings that undo or extend one another become one or none, and so do those of numbers (fill). What depends on
// weights alone beyond that is computed once, in prepare.
void fold_constants(Graph& graph);
// Phases: what depends on weights alone is prepared. Required, after the last pass that makes nodes out of weights.
void assign_phases(Graph& graph);
// What depends on no input of the step moves into setup. After assign_phases, which it refines.
void hoist_step_invariant(Graph& graph);

// What the timestep and the inputs of setup alone decide is computed in setup for all timesteps at once: the input "timestep" [1] becomes one of
// setup, [timesteps], each value behind it a table with a row a timestep, and the step reads the row "step_index" (int32 [1]) of each table that
// something else reads. Last, so that what is left of a projection is one row to be read.
void schedule_time_embedding(Graph& graph);

// silu(group_norm(x)) and silu(spatial_norm(x, ..)): one trip through memory.
void fuse_norm_activation(Graph& graph, const Target& target);
// geglu(linear(x)): the gate in the GEMM's epilogue; the wide activation is never stored. Before fuse_epilogues.
void fuse_geglu(Graph& graph, const Target& target);
// act(linear(x)) * linear(x) of a gelu, gelu_tanh or silu becomes geglu_linear, with both weights in one. After fuse_projections; before
// fuse_epilogues.
void fuse_gated_linears(Graph& graph, const Target& target);
// layer_norm(x) * scale + shift with vectors of each image: adaLN in one trip, which can be quantised in the same. Before fuse_elementwise.
void fuse_modulation(Graph& graph, const Target& target);
// rotary(rms_norm(x)) of the same heads: Q and K are normed and turned in one trip. After fuse_projections.
void fuse_rotary(Graph& graph, const Target& target);
// A 3x3 convolution of a doubled image becomes upsample_conv2d, which has kernels with less arithmetic. Before fuse_epilogues.
void fuse_upsample_convolution(Graph& graph);
// Linears that options.quantize names, by their scope, get the arithmetic and the weight storage asked for. Before fuse_projections, which joins
// linears of one kind only.
void quantize(Graph& graph, const CompileOptions& options);
// Linears read weights that the checkpoint stores in blocks of several values as they are, where the target's kernels do; not those that quantize()
// gave another storage. What adapters of low rank add to such a weight runs beside it, x A^T B^T, since a merged one would be wide. Before
// fuse_projections, which joins linears whose weights are as stored.
void keep_blocks(Graph& graph, const Target& target);
// The activation of linears that multiply 8 bits is quantised where it is made (layer_norm, rms_norm, geglu), where the target's kernels do, or once
// for several readers. After the passes that look for linears or for what comes before them, before assign_phases.
void fuse_quantize(Graph& graph, const Target& target);
// What follows a linear or a convolution moves into its epilogue: the time embedding ([N, 1, 1, C] added to [N, H, W, C]), an activation, a
// gate ([N, 1, C] times [N, T, C]), a residual.
// After the passes that look for bare linears and convolutions.
void fuse_epilogues(Graph& graph, const Target& target);
// A 1x1 convolution of stride 1 without padding is a linear over the pixels: what is there for linears (projections, epilogues, tuning, quantisation)
// then serves it. Before those.
void conv_1x1_as_mm(Graph& graph);
// What options.error_budget says of single layers, in the graph, where they will lose their names: the attributes of the passes that spend it, which
// leave them as they are. Before what joins layers.
void note_error_budget(Graph& graph, const CompileOptions& options);
// Linears without epilogue that read the same value become one, with slices of its result (Q, K, V; K, V). Before fuse_epilogues.
void fuse_projections(Graph& graph);
// Lets convolutions of stride 1 run as Winograd F(2x2, 3x3): 2.25x less arithmetic, in bfloat16 at 5/3 of a direct convolution's error.
// This pass and the next two spend the error budget.
void allow_winograd(Graph& graph, const CompileOptions& options);
// Lets linears run by Strassen's algorithm: an eighth less arithmetic. After every fusion that makes linears.
void allow_strassen(Graph& graph, const CompileOptions& options);
// Lets linears, attention, and convolutions that may run as Winograd, of bfloat16 where the target's products of int16 are as fast (or whatever the
// error budget covers) form their products of int16. Beside allow_strassen.
void allow_int16(Graph& graph, const CompileOptions& options, const Target& target);
// Linears (and convolutions, with medium) of float32 values may form their products as `precision` allows: attribute matmul_precision, of which a
// kernel makes what is faster on its processor. After every fusion that makes linears or convolutions.
void lower_matmul_precision(Graph& graph, MatmulPrecision precision);
// Chains of elementwise ops become one tile program, as long as the target's kernels take. After every other fusion.
void fuse_elementwise(Graph& graph, const Target& target);
// Lets the producers of a concat's parts write straight into its buffer, along the last axis (with a pitch) or the first (attribute join; where it
// can be done, lower.cc does it). Last.
void join_concats(Graph& graph);

}  // namespace vivace
