# vivace_simd_sources: norm.cmake, which comes first.
vivace_simd_sources(elementwise_kernels.cc elementwise_tile_kernels.cc)
foreach(source elementwise elementwise_layout elementwise_tile)
  target_sources(vivace_backends PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/cpu/kernels/${source}.cc)
endforeach()
