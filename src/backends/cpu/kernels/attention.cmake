# Scaled dot-product attention: one source, compiled once per instruction set (why not Highway: attention_kernels.h).
set(attention_dir ${CMAKE_CURRENT_SOURCE_DIR}/cpu/kernels)
target_sources(vivace_backends PRIVATE ${attention_dir}/attention.cc ${attention_dir}/attention_baseline.cc ${attention_dir}/attention_avx2.cc
                                       ${attention_dir}/attention_avx512.cc ${attention_dir}/attention_avx512_bf16.cc
                                       ${attention_dir}/attention_amx.cc)
set(attention_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c -mprefer-vector-width=512)
# GCC 12 takes the undefined operands inside its own AVX-512 intrinsics for a mistake of ours (GCC bug 105593).
list(APPEND attention_avx512 -Wno-uninitialized -Wno-maybe-uninitialized)
set_source_files_properties(${attention_dir}/attention_avx2.cc PROPERTIES COMPILE_OPTIONS "-mavx2;-mfma;-mf16c")
set_source_files_properties(${attention_dir}/attention_avx512.cc PROPERTIES COMPILE_OPTIONS "${attention_avx512}")
set_source_files_properties(${attention_dir}/attention_avx512_bf16.cc ${attention_dir}/attention_amx.cc PROPERTIES COMPILE_OPTIONS "${attention_avx512};-mavx512bf16")
