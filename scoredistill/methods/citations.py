"""How to cite each method: BibTeX by the name of the method."""

CITATIONS: dict[str, str] = {
    "sds": """@inproceedings{poole2023dreamfusion,
  title     = {DreamFusion: Text-to-3D using 2D Diffusion},
  author    = {Poole, Ben and Jain, Ajay and Barron, Jonathan T. and Mildenhall, Ben},
  booktitle = {International Conference on Learning Representations},
  year      = {2023}
}""",
    "sjc": """@inproceedings{wang2023score,
  title     = {Score Jacobian Chaining: Lifting Pretrained 2D Diffusion Models for 3D Generation},
  author    = {Wang, Haochen and Du, Xiaodan and Li, Jiahao and Yeh, Raymond A. and Shakhnarovich, Greg},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {12619--12629},
  year      = {2023}
}""",
    "vsd": """@inproceedings{wang2023prolificdreamer,
  title     = {ProlificDreamer: High-Fidelity and Diverse Text-to-3D Generation with Variational Score Distillation},
  author    = {Wang, Zhengyi and Lu, Cheng and Wang, Yikai and Bao, Fan and Li, Chongxuan and Su, Hang and Zhu, Jun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023}
}""",
    "esd": """@inproceedings{wang2024taming,
  title     = {Taming Mode Collapse in Score Distillation for Text-to-3D Generation},
  author    = {Wang, Peihao and Xu, Dejia and Fan, Zhiwen and Wang, Dilin and Mohan, Sreyas and Iandola, Forrest and
               Ranjan, Rakesh and Li, Yilei and Liu, Qiang and Wang, Zhangyang and Chandra, Vikas},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  pages     = {9037--9047},
  year      = {2024}
}""",
    "hifa": """@inproceedings{zhu2024hifa,
  title     = {HiFA: High-fidelity Text-to-3D Generation with Advanced Diffusion Guidance},
  author    = {Zhu, Junzhe and Zhuang, Peiye and Koyejo, Sanmi},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    "nfsd": """@inproceedings{katzir2024noise,
  title     = {Noise-Free Score Distillation},
  author    = {Katzir, Oren and Patashnik, Or and Cohen-Or, Daniel and Lischinski, Dani},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    "csd": """@inproceedings{yu2024text,
  title     = {Text-to-3D with Classifier Score Distillation},
  author    = {Yu, Xin and Guo, Yuan-Chen and Li, Yangguang and Liang, Ding and Zhang, Song-Hai and Qi, Xiaojuan},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    "ism": """@inproceedings{liang2024luciddreamer,
  title     = {LucidDreamer: Towards High-Fidelity Text-to-3D Generation via Interval Score Matching},
  author    = {Liang, Yixun and Yang, Xin and Lin, Jiantao and Li, Haodong and Xu, Xiaogang and Chen, Yingcong},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}""",
    "asd": """@inproceedings{ma2024scaledreamer,
  title     = {ScaleDreamer: Scalable Text-to-3D Synthesis with Asynchronous Score Distillation},
  author    = {Ma, Zhiyuan and Wei, Yuxiang and Zhang, Yabin and Zhu, Xiangyu and Lei, Zhen and Zhang, Lei},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}""",
    "consistent3d": """@inproceedings{wu2024consistent3d,
  title     = {Consistent3D: Towards Consistent High-Fidelity Text-to-3D Generation with Deterministic Sampling Prior},
  author    = {Wu, Zike and Zhou, Pan and Yi, Xuanyu and Yuan, Xiaoding and Zhang, Hanwang},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2024}
}""",
    "mvdream": """@inproceedings{shi2024mvdream,
  title     = {MVDream: Multi-view Diffusion for 3D Generation},
  author    = {Shi, Yichun and Wang, Peng and Ye, Jianglong and Mai, Long and Li, Kejie and Yang, Xiao},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    "sdi": """@inproceedings{lukoianov2024score,
  title     = {Score Distillation via Reparametrized DDIM},
  author    = {Lukoianov, Artem and {S{\\'a}ez de Oc{\\'a}riz Borde}, Haitz and Greenewald, Kristjan and
               Guizilini, Vitor Campagnolo and Bagautdinov, Timur and Sitzmann, Vincent and Solomon, Justin},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}""",
    "dsd": """@article{xu2024diverse,
  title     = {Diverse Score Distillation},
  author    = {Xu, Yanbo and Srinivasa, Jayanth and Liu, Gaowen and Tulsiani, Shubham},
  journal   = {arXiv preprint arXiv:2412.06780},
  year      = {2024}
}""",
    "cfd": """@inproceedings{yan2025consistent,
  title     = {Consistent Flow Distillation for Text-to-3D Generation},
  author    = {Yan, Runjie and Chen, Yinbo and Wang, Xiaolong},
  booktitle = {International Conference on Learning Representations},
  year      = {2025}
}""",
    "pfd": """@article{ramanan2026probability,
  title     = {Probability-Flow Distillation: Exact Wasserstein Gradient Flow for High-Fidelity 3D Generation},
  author    = {Ramanan, Rohith and Rajagopalan, A. N.},
  journal   = {arXiv preprint arXiv:2605.09071},
  year      = {2026}
}""",
}
