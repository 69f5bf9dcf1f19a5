set(conv ${CMAKE_CURRENT_SOURCE_DIR}/cpu/kernels)
target_sources(vivace_backends PRIVATE ${conv}/conv.cc ${conv}/conv_plan.cc ${conv}/conv_avx2.cc ${conv}/conv_avx512.cc ${conv}/conv_avx512_bf16.cc
  ${conv}/conv_amx.cc)
# O3: the transforms' arrays must become registers. Contraction off: what is fused is written as fma(). GCC 12 takes its own intrinsics'
# "undefined" operands for uninitialised variables.
set(conv_options -O3 -ffp-contract=off -Wno-maybe-uninitialized -Wno-uninitialized)
set(conv_avx2 -mavx2 -mfma -mf16c)
set(conv_avx512 ${conv_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
set_source_files_properties(${conv}/conv_avx2.cc PROPERTIES COMPILE_OPTIONS "${conv_options};${conv_avx2}")
set_source_files_properties(${conv}/conv_avx512.cc PROPERTIES COMPILE_OPTIONS "${conv_options};${conv_avx512}")
set_source_files_properties(${conv}/conv_avx512_bf16.cc ${conv}/conv_amx.cc PROPERTIES COMPILE_OPTIONS "${conv_options};${conv_avx512};-mavx512bf16")
