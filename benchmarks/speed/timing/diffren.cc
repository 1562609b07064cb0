// Offers diffren's CPU rasteriser to XLA, so that benchmarks/speed/mesh_rasterizer.py can build it without bazel.
//
// Compiled together with diffren/common/kernels/rasterize_triangles_impl.cc of a checkout of diffren.

#include <algorithm>
#include <cstdint>

#include "diffren/common/kernels/rasterize_triangles_impl.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

static ffi::Error Rasterize(int32_t culling, ffi::BufferR2<ffi::F32> vertices, ffi::BufferR2<ffi::S32> triangles,
                            ffi::ResultBufferR3<ffi::S32> ids, ffi::ResultBufferR3<ffi::F32> depth,
                            ffi::ResultBufferR4<ffi::F32> weights) {
  // The kernel only overwrites what a triangle is in front of: its caller clears, depth to the far plane.
  std::fill_n(ids->typed_data(), ids->element_count(), -1);
  std::fill_n(depth->typed_data(), depth->element_count(), 1.0f);
  std::fill_n(weights->typed_data(), weights->element_count(), 0.0f);
  const auto shape = ids->dimensions();  // layers, height, width
  diffren::RasterizeTrianglesImpl(
      vertices.typed_data(), triangles.typed_data(), static_cast<int32_t>(triangles.dimensions()[0]),
      static_cast<int32_t>(shape[2]), static_cast<int32_t>(shape[1]), static_cast<int32_t>(shape[0]),
      static_cast<diffren::FaceCullingMode>(culling), ids->typed_data(), depth->typed_data(), weights->typed_data());
  return ffi::Error::Success();
}

XLA_FFI_DEFINE_HANDLER_SYMBOL(RasterizeTriangles, Rasterize,
                              ffi::Ffi::Bind()
                                  .Attr<int32_t>("face_culling_mode")
                                  .Arg<ffi::BufferR2<ffi::F32>>()
                                  .Arg<ffi::BufferR2<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::S32>>()
                                  .Ret<ffi::BufferR3<ffi::F32>>()
                                  .Ret<ffi::BufferR4<ffi::F32>>());
