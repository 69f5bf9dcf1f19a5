# The one way to compile for several instruction sets: vivace_levels(FAMILY SOURCES .. LEVELS .. OPTIONS ..) compiles each source once a level of isa.h,
# from a file of the build folder that includes it, with VIVACE_SIMD naming the level and, for amx, VIVACE_AMX. What such a source defines is in namespace
# vivace::cpu::VIVACE_SIMD; what it includes has internal linkage (simd/simd.h says why).
function(vivace_levels family)
  cmake_parse_arguments(arg "" "" "SOURCES;LEVELS;OPTIONS" ${ARGN})
  set(flags_baseline "")
  set(flags_avx2 -mavx2 -mfma -mf16c)
  # GCC 12 takes the undefined operands inside its own AVX-512 intrinsics for a mistake of ours (GCC bug 105593).
  set(flags_avx512 ${flags_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mprefer-vector-width=512 -Wno-maybe-uninitialized -Wno-uninitialized)
  set(flags_avx2_vnni ${flags_avx2} -mavxvnni)
  set(flags_avx512_vnni ${flags_avx512} -mavx512vnni)
  set(flags_avx512_bf16 ${flags_avx512_vnni} -mavx512bf16)
  # AMX's instructions are written out (microkernel_amx.h): the compiler needs no option for them.
  set(flags_amx ${flags_avx512_bf16} -DVIVACE_AMX)
  foreach(source IN LISTS arg_SOURCES)
    get_filename_component(name ${source} NAME_WE)
    foreach(level IN LISTS arg_LEVELS)
      set(stub ${CMAKE_CURRENT_BINARY_DIR}/${family}_${name}_${level}.cc)
      file(CONFIGURE OUTPUT ${stub} CONTENT "#include \"backends/cpu/kernels/${family}/${source}\"\n")
      set_source_files_properties(${stub} PROPERTIES COMPILE_DEFINITIONS VIVACE_SIMD=${level} COMPILE_OPTIONS "${arg_OPTIONS};${flags_${level}}"
        SKIP_PRECOMPILE_HEADERS ON)
      target_sources(vivace_backends PRIVATE ${stub})
      set_property(GLOBAL APPEND PROPERTY VIVACE_SOURCES_${level} ${stub})
    endforeach()
  endforeach()
endfunction()

set(kernels cpu/kernels)
target_sources(vivace_backends PRIVATE ${kernels}/int16_row.cc ${kernels}/attention/attention.cc ${kernels}/attention/integers_error.cc
  ${kernels}/conv/conv.cc ${kernels}/conv/plan.cc
  ${kernels}/elementwise/elementwise.cc ${kernels}/elementwise/tile.cc ${kernels}/gemm/blocking.cc ${kernels}/gemm/blocks.cc ${kernels}/gemm/gemm.cc
  ${kernels}/gemm/pack.cc ${kernels}/gemm/plan.cc ${kernels}/gemm/strassen.cc ${kernels}/norm/norm.cc ${kernels}/norm/quantize.cc ${kernels}/norm/softmax.cc
  ${kernels}/norm/spatial_norm.cc
  ${kernels}/vecmath/vecmath.cc)

vivace_levels(attention SOURCES level.cc LEVELS baseline avx2 avx512 avx512_bf16 amx)
vivace_levels(attention SOURCES integers.cc LEVELS avx2 avx2_vnni avx512_vnni)
# O3: the transforms' arrays must become registers. Contraction off: what is fused is written as MulAdd().
vivace_levels(conv SOURCES level.cc LEVELS avx2 avx2_vnni avx512 avx512_vnni avx512_bf16 amx OPTIONS -O3 -ffp-contract=off)
vivace_levels(gemm SOURCES level.cc LEVELS avx2 avx2_vnni avx512 avx512_vnni avx512_bf16 amx OPTIONS -O3)
# VNNI and AMX have nothing for single vectors.
set(vector_levels LEVELS baseline avx2 avx512 avx512_bf16)
vivace_levels(elementwise SOURCES kernels.cc tile_kernels.cc ${vector_levels})
vivace_levels(norm SOURCES kernels.cc softmax_kernels.cc ${vector_levels})
vivace_levels(vecmath SOURCES kernels.cc ${vector_levels})
