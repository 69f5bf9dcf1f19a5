// Everything.
#pragma once

#include "vivace/cache.h"
#include "vivace/compile.h"
#include "vivace/dtype.h"
#include "vivace/error.h"
#include "vivace/export.h"
#include "vivace/generator.h"
#include "vivace/image.h"
#include "vivace/models.h"
#include "vivace/pipeline.h"
#include "vivace/profile.h"
#include "vivace/quality.h"
#include "vivace/quantize.h"
#include "vivace/scheduler.h"
#include "vivace/tensor.h"
