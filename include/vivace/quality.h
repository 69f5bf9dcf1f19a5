// How far a picture or a latent is from a reference. Pictures are RGB in 0..1 of one size; another size is a UsageError.
#pragma once

#include "vivace/api.h"
#include "vivace/image.h"
#include "vivace/tensor.h"

namespace vivace VIVACE_API {

// Peak signal-to-noise ratio in dB over all values, the peak being 1. Infinity for equal pictures.
double psnr(const Image& reference, const Image& image);

// Structural similarity (Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004):
// Gaussian window of 11x11 and sigma 1.5, K1 0.01, K2 0.03, range 1, whole windows only; the mean over R, G and B. 1 for equal pictures.
// Equals scikit-image's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=2).
// Throws UsageError below 11 pixels a side.
double ssim(const Image& reference, const Image& image);

// Mean deviation similarity index (Nafchi, Shahkolaei, Hedjam, Cheriet, "Mean deviation similarity index: efficient and reliable full-reference
// image quality evaluator", IEEE Access 2016, arXiv:1608.07433), the sum form with the paper's constants: a perceptual distance from gradients
// and chromaticity that needs no trained network. 0 for equal pictures; below about 0.2 a difference is hard to see, 0.5 is gross.
double mdsi(const Image& reference, const Image& image);

// Of two float32 tensors of one shape, as vectors. The cosine of two zero vectors is 1.
double cosine_similarity(const Tensor& reference, const Tensor& value);
// Root mean square of the difference over that of the reference; 0 for equal tensors, infinity for a reference of zeros otherwise.
double relative_rms(const Tensor& reference, const Tensor& value);

}  // namespace VIVACE_API
