"use strict";
// What the page says.

const texts = {
  en: {
    prompt: "Prompt", negative: "Negative prompt", model: "Model", scheduler: "Scheduler", width: "Width", height: "Height", images: "Pictures",
    steps: "Steps", guidance: "Guidance", seed: "Seed", key: "API key", draw: "Draw", cancel: "Cancel", history: "History", clear: "Clear history",
    hint: "Pictures appear here. Drop one to use its settings again, or to edit it.", own: "the model's own", random: "random",
    waiting: n => n ? `Waiting: ${n} before this one` : "Waiting", loading: "Beginning", step: (s, n, t) => `Step ${s} of ${n}, ${t} left`,
    done: seed => `Done. Seed ${seed}`, cancelled: "Cancelled", lost: "The connection was lost. Trying again …", gone: "The server no longer knows this job",
    none: "This picture holds no settings", unreachable: "The server cannot be reached", needsKey: "This server asks for a key",
    loras: "Adapters (LoRA)", editing: "Edit a picture", strength: "Strength", brush: "Brush", clearMask: "Clear mask", stopEditing: "Stop editing",
    maskHint: "Paint over what is to change. Without paint all of it may.", maskLabel: "Mask: paint with the mouse or a finger; arrow keys move the brush, space paints",
    editThis: "Edit this picture", editFile: "Edit a file …", report: "Speed of each optimisation", notPicture: "This file is no picture that the browser can show",
  },
  zh: {
    prompt: "提示词", negative: "反向提示词", model: "模型", scheduler: "调度器", width: "宽度", height: "高度", images: "张数",
    steps: "步数", guidance: "引导系数", seed: "随机种子", key: "API 密钥", draw: "生成", cancel: "取消", history: "历史记录", clear: "清空历史",
    hint: "图片会显示在这里。拖入图片即可再次使用它的参数，或对它进行编辑。", own: "模型默认", random: "随机",
    waiting: n => n ? `排队中：前面还有 ${n} 个任务` : "排队中", loading: "正在开始", step: (s, n, t) => `第 ${s} / ${n} 步，剩余 ${t}`,
    done: seed => `完成。种子 ${seed}`, cancelled: "已取消", lost: "连接已断开，正在重试……", gone: "服务器已不再保留此任务",
    none: "这张图片不含参数", unreachable: "无法连接服务器", needsKey: "此服务器需要密钥",
    loras: "适配器（LoRA）", editing: "编辑图片", strength: "重绘强度", brush: "画笔", clearMask: "清除蒙版", stopEditing: "停止编辑",
    maskHint: "涂抹需要改变的部分；不涂抹则整张图片都可能改变。", maskLabel: "蒙版：用鼠标或手指涂抹；方向键移动画笔，空格键涂抹",
    editThis: "编辑这张图片", editFile: "编辑文件……", report: "各项优化的速度", notPicture: "浏览器无法显示此文件",
  },
};
