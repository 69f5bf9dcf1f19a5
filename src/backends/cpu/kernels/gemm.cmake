# The GEMM: portable planning, packing and loop nest; inner loops once per instruction set.
set(gemm_dir ${CMAKE_CURRENT_SOURCE_DIR}/cpu/kernels)
target_sources(vivace_backends PRIVATE ${gemm_dir}/gemm.cc ${gemm_dir}/gemm/plan.cc ${gemm_dir}/gemm/pack.cc ${gemm_dir}/gemm/blocking.cc ${gemm_dir}/int16_row.cc ${gemm_dir}/gemm/strassen.cc
  ${gemm_dir}/gemm/level_avx2.cc ${gemm_dir}/gemm/level_avx512.cc ${gemm_dir}/gemm/level_avx512_bf16.cc ${gemm_dir}/gemm/level_amx.cc)
set(gemm_avx512_flags -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512cd -mprefer-vector-width=512
  # GCC 12 takes the undefined operand inside its own intrinsics for ours (GCC bug 105593).
  -Wno-uninitialized -Wno-maybe-uninitialized)
set_source_files_properties(${gemm_dir}/gemm/level_avx2.cc PROPERTIES COMPILE_OPTIONS "-O3;-mavx2;-mfma;-mf16c")
set_source_files_properties(${gemm_dir}/gemm/level_avx512.cc PROPERTIES COMPILE_OPTIONS "-O3;${gemm_avx512_flags}")
# AMX's instructions are written out (microkernel_amx.h): the compiler needs no option for them.
set_source_files_properties(${gemm_dir}/gemm/level_avx512_bf16.cc ${gemm_dir}/gemm/level_amx.cc PROPERTIES COMPILE_OPTIONS "-O3;${gemm_avx512_flags};-mavx512bf16;-mavx512vnni")
