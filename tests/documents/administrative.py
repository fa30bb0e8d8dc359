"""The demonstration's document: a plan of a ward that does not exist, laid out as Decree 30/2020/NĐ-CP, annex I.

Liberation Serif has the metrics of Times New Roman and may be embedded; its subset travels in the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import cm, mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import HRFlowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

_FRAME: Final = 6  # reportlab's frame keeps these points free on each side
FONTS: Final = Path("/usr/share/fonts/truetype/liberation2")
_FACES: Final = {
    "Serif": "LiberationSerif-Regular.ttf",
    "Serif-Bold": "LiberationSerif-Bold.ttf",
    "Serif-Italic": "LiberationSerif-Italic.ttf",
    "Serif-BoldItalic": "LiberationSerif-BoldItalic.ttf",
}

_AIMS: Final = (
    "Sử dụng chữ ký số chuyên dùng công vụ khi xử lý văn bản điện tử trên Hệ thống quản lý văn bản và điều hành; "
    "người có thẩm quyền ký số ở mọi nơi, mọi lúc mà không cần mang theo thiết bị lưu khóa.",
    "Mỗi chữ ký số do chính người ký xác nhận bằng mã xác thực một lần. Tuyệt đối không giao mã, thiết bị xác thực "
    "hoặc chữ ký số của mình cho người khác quản lý, sử dụng.",
    "Không đưa văn bản có nội dung bí mật nhà nước lên hệ thống.",
)
_TASKS: Final = (
    "<b>Giai đoạn 1 (quý I năm 2027):</b> ký số kế hoạch, thông báo, giấy mời, tờ trình và các văn bản trao đổi "
    "nội bộ của Ủy ban nhân dân phường.",
    "<b>Giai đoạn 2 (quý II năm 2027):</b> mở rộng đến các loại văn bản còn lại, trừ văn bản mật và hồ sơ một cửa.",
    "<b>Kiểm tra chữ ký số:</b> mọi văn bản đến và đi phải được kiểm tra tính toàn vẹn, hiệu lực của chứng thư chữ "
    "ký số và dấu thời gian trước khi xử lý; kết quả kiểm tra được lưu cùng văn bản.",
    "<b>Nhật ký ký số:</b> mỗi lần ký được ghi vào nhật ký không thể sửa; Thanh tra phường nhận giá trị kiểm chứng "
    "hằng ngày và tự kiểm tra bất cứ lúc nào.",
)
_DUTIES: Final = (
    "Văn phòng Hội đồng nhân dân và Ủy ban nhân dân phường là đầu mối: lập danh sách người ký, phối hợp cấp chứng "
    "thư chữ ký số, tổng hợp, báo cáo kết quả trước ngày 25 hằng tháng.",
    "Các phòng chuyên môn, đơn vị trực thuộc rà soát quy trình, cử cán bộ tham gia tập huấn và thực hiện ký số đối "
    "với văn bản thuộc thẩm quyền.",
    "Công chức văn thư kiểm tra thể thức, chữ ký số của người có thẩm quyền trước khi ký số của cơ quan và phát hành.",
)
_RECIPIENTS: Final = (
    "- Thường trực Đảng ủy, HĐND phường;",
    "- Chủ tịch, các PCT UBND phường;",
    "- Các phòng, ban, đơn vị trực thuộc;",
    "- Cổng thông tin điện tử phường;",
    "- Lưu: VT, VP.",
)


def write(path: Path) -> None:
    """Write the plan to `path`: the same bytes every time."""
    for name, file in _FACES.items():
        pdfmetrics.registerFont(TTFont(name, str(FONTS / file)))
    pdfmetrics.registerFontFamily(
        "Serif", normal="Serif", bold="Serif-Bold", italic="Serif-Italic", boldItalic="Serif-BoldItalic"
    )
    document = SimpleDocTemplate(
        str(path),
        pagesize=A4,
        topMargin=20 * mm,
        bottomMargin=20 * mm,
        leftMargin=30 * mm,
        rightMargin=15 * mm,
        title="Kế hoạch triển khai ký số tập trung năm 2027",
        author="Ủy ban nhân dân phường Hoa Sen",
        lang="vi-VN",
        invariant=1,
    )
    document.build(_story(document.width - 2 * _FRAME), onLaterPages=_page_number)


def _style(size: float, *, font: str = "Serif", align: int = TA_CENTER, **more: Any) -> ParagraphStyle:
    return ParagraphStyle("", fontName=font, fontSize=size, leading=size * 1.28, alignment=align, **more)


_BODY = _style(13.5, align=TA_JUSTIFY, firstLineIndent=1.27 * cm, spaceAfter=6)
_HEADING = _style(13.5, font="Serif-Bold", align=TA_JUSTIFY, firstLineIndent=1.27 * cm, spaceBefore=4, spaceAfter=4)


def _rule(width: float) -> HRFlowable:
    return HRFlowable(width=width, thickness=0.7, color="black", spaceBefore=2, spaceAfter=2)


def _story(width: float) -> list[Any]:
    story: list[Any] = [_head(width), Spacer(1, 8 * mm)]
    story += [
        Paragraph("KẾ HOẠCH", _style(14, font="Serif-Bold")),
        Paragraph(
            "Triển khai ký số tập trung trong xử lý văn bản điện tử<br/>"
            "của Ủy ban nhân dân phường Hoa Sen năm 2027",
            _style(13.5, font="Serif-Bold"),
        ),
        _rule(45 * mm),
        Spacer(1, 5 * mm),
        Paragraph(
            "Thực hiện chủ trương đẩy mạnh sử dụng văn bản điện tử và chữ ký số chuyên dùng công vụ trong hoạt động "
            "của cơ quan nhà nước, Ủy ban nhân dân phường Hoa Sen ban hành Kế hoạch triển khai ký số tập trung với "
            "các nội dung sau:",
            _BODY,
        ),
    ]
    parts = (
        ("I. MỤC ĐÍCH, YÊU CẦU", _AIMS),
        ("II. NỘI DUNG THỰC HIỆN", _TASKS),
        ("III. TỔ CHỨC THỰC HIỆN", _DUTIES),
    )
    for heading, paragraphs in parts:
        story.append(Paragraph(heading, _HEADING))
        story += [Paragraph(f"{number}. {text}", _BODY) for number, text in enumerate(paragraphs, 1)]
    story.append(
        Paragraph(
            "Trong quá trình thực hiện, nếu có khó khăn, vướng mắc, các đơn vị phản ánh về Văn phòng để tổng hợp, "
            "báo cáo Ủy ban nhân dân phường xem xét, quyết định./.",
            _BODY,
        )
    )
    return [*story, Spacer(1, 4 * mm), KeepTogether(_foot(width))]


def _head(width: float) -> Table:
    left = [
        Paragraph("THÀNH PHỐ TRUNG TÂM", _style(12.5)),
        Paragraph("ỦY BAN NHÂN DÂN<br/>PHƯỜNG HOA SEN", _style(12.5, font="Serif-Bold")),
        _rule(22 * mm),
        Spacer(1, 2 * mm),
        Paragraph("Số: 27/KH-UBND", _style(13)),
    ]
    right = [
        Paragraph("CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", _style(12, font="Serif-Bold")),
        Paragraph("Độc lập - Tự do - Hạnh phúc", _style(13, font="Serif-Bold")),
        _rule(56 * mm),
        Spacer(1, 6.5 * mm),
        Paragraph("Hoa Sen, ngày 22 tháng 11 năm 2026", _style(13, font="Serif-Italic")),
    ]
    return _columns(left, right, 0.4 * width, 0.6 * width)


def _foot(width: float) -> list[Any]:
    small = _style(11, align=TA_JUSTIFY)
    left = [Paragraph("Nơi nhận:", _style(12, font="Serif-BoldItalic", align=TA_JUSTIFY))]
    left += [Paragraph(line, small) for line in _RECIPIENTS]
    right = [
        Paragraph("TM. ỦY BAN NHÂN DÂN<br/>KT. CHỦ TỊCH<br/>PHÓ CHỦ TỊCH", _style(13.5, font="Serif-Bold")),
        Spacer(1, 28 * mm),  # where the visible signature goes
        Paragraph("Nguyễn Văn A", _style(13.5, font="Serif-Bold")),
    ]
    return [_columns(left, right, 0.5 * width, 0.5 * width)]


def _columns(left: list[Any], right: list[Any], left_width: float, right_width: float) -> Table:
    table = Table([[left, right]], colWidths=[left_width, right_width])
    everywhere = ((0, 0), (-1, -1))
    table.setStyle([
        ("VALIGN", *everywhere, "TOP"),
        ("ALIGN", *everywhere, "CENTER"),
        ("LEFTPADDING", *everywhere, 0),
        ("RIGHTPADDING", *everywhere, 0),
    ])
    return table


def _page_number(canvas: Any, document: Any) -> None:
    canvas.setFont("Serif", 13)
    canvas.drawCentredString(A4[0] / 2 + 7.5 * mm, A4[1] - 13 * mm, str(canvas.getPageNumber()))
