"""The English sentences of the demo threads."""

from __future__ import annotations

from tabweave.fabrication.phrases import Phrases

ENGLISH = Phrases(
    openings=(
        "Hello, I ordered the {item} from your shop.",
        "Hi there, I have a question about my order of the {item}.",
        "Good morning, this is {name}. I bought the {item} last week.",
        "Hey, quick question about the {item} please.",
        "Dear seller, I am writing about the {item} that I ordered.",
        "Hi, it's {name} again, about the {colour} {item}.",
    ),
    exchanges=(
        (
            "Is the {item} also available in {colour}?",
            "Yes, we have it in {colour} & in black, both are in stock.",
        ),
        (
            "When will you ship the {item}?",
            "It leaves our warehouse in {days} days, then the carrier takes over.",
        ),
        (
            "Can I still change the address of my order?",
            "Sure, I've changed the address, there is nothing else to do.",
        ),
        (
            "Could you add a gift note for my sister?",
            "Of course, tell me the words and we'll print the note for you.",
        ),
        (
            "Does the {item} come with a warranty?",
            "It has a two year warranty, the paper is inside the box.",
        ),
        (
            "I need an invoice with my company name on it.",
            "You can download the invoice from the order page, I just updated it.",
        ),
        (
            "The {item} arrived with a small scratch on the side.",
            "I'm sorry about that. Would you like a partial refund or a new one?",
        ),
        (
            "How long does delivery to {city} take?",
            "Usually {days} working days to {city}, a bit more before the holidays.",
        ),
        (
            "Is it possible to return the {item} if it doesn't fit?",
            "You have thirty days to return it, the label is in the parcel.",
        ),
        (
            'What are the exact measurements? The page only says "{size}".',
            "I measured it again, please look at the last photo on the page.",
        ),
        (
            "Can you combine this with my other order to save postage?",
            "Good idea, both go in one box & I refund the second postage.",
        ),
        (
            "Do you give a discount if I take {days} of them?",
            "For {days} pieces I can offer {percent} percent off the price.",
        ),
        (
            "The box was open when the courier handed it to me.",
            "Thank you for telling us. Could you send a photo of the box?",
        ),
        (
            "Do I need anything else to use the {item}?",
            "No, the {item} comes with all that you need.",
        ),
        (
            "I won't be at home on Monday, can the courier come later?",
            "You can choose another day on the carrier's page, it's free.",
        ),
        (
            "Is this the original or a copy? The description isn't clear.",
            "It's the original, bought by our shop in {city} & never used.",
        ),
        (
            "My neighbour loves hers, so I ordered the {colour} one too.",
            "That's lovely to hear, please say hello from our team in {city}.",
        ),
        (
            "The leaflet is missing, could you send me the pages?",
            "I've attached the leaflet, page {days} is what you need first.",
        ),
        (
            "Can you hold the parcel until I am back from {city}?",
            "We can hold it for {days} days, just write when you are back.",
        ),
        (
            "I think I ordered the {item} twice by mistake.",
            "I see both orders, so I cancelled the second one for you.",
        ),
        (
            "How should I store the {item} over the winter?",
            "In a dry place, away from heat & strong light.",
        ),
        (
            "The colour looks different from the photos on the page.",
            "Screens differ a little. If you don't like it, we take it back.",
        ),
        (
            "Do you ship to {city} as well? It's a present for my aunt.",
            "Yes, we ship to {city} every week, and we can wrap it as a present.",
        ),
        (
            "Has the {item} been used before?",
            "It was shown in our shop for {days} weeks, otherwise it's like new.",
        ),
    ),
    closings=(
        "Thank you, have a nice day!",
        "Great, that's all I needed to know.",
        "Perfect, many thanks & best wishes, {name}",
        "Okay, I'll wait for your answer.",
        "Thanks for the quick reply, I'll leave a good review.",
        "Regards, {name}",
    ),
    requests={
        "pay_outside": (
            "If you pay outside the site by {bank}, it's {percent} percent less.",
            "Let's skip the site, send the money directly by {bank} and I ship today.",
            "If you pay outside by {bank} we both save the fee.",
            "Please cancel the order here and send the money by {bank} to my account.",
            "The site takes a big fee, so pay me directly with {bank} instead.",
            "I only accept {bank} now, I'll send you my account directly.",
            "Cheaper outside the site: {bank} to my account, {percent} percent off.",
            "Can we do the payment directly, by {bank}, without the site?",
        ),
        "gift_card": (
            "Please buy a gift card at the store and send me the numbers on the back.",
            "You can pay the rest with a gift card, just send the numbers.",
            "I need the customs fee as a gift card, scratch it and send a photo.",
            "Get {days} gift cards and send me the numbers, then I ship the {item}.",
            "Send me a gift card of the same value and I'll cancel the fee.",
            "My card doesn't work, so please send a gift card photo with the numbers.",
            "For the refund I need you to buy a gift card first and send a photo.",
        ),
        "link": (
            "Your account is on hold, please log in at {link} to confirm your card.",
            "Open this link {link} and enter your card to get the refund.",
            "To release the parcel pay the small fee at {link} today.",
            "Please confirm your bank details here: {link}",
            "We couldn't check your address, log in at {link} within {days} hours.",
            "Click {link} and fill in your password, otherwise the order is cancelled.",
            "The refund is ready, enter your bank details at {link} to get it.",
        ),
        "code": (
            "You'll get a six digit verification code, please send me that code.",
            "I need the verification code from your phone to confirm the order.",
            "Please tell me the code that was sent to your phone.",
            "Forward the verification code to me so that I can unlock the refund.",
            "What is the code in the message you just got? I need it to ship.",
            "Send me the login code, it's only to confirm that you are real.",
            "Read me the code from the text message and I'll release the parcel.",
        ),
        "messenger": (
            "Let us continue on another app, my {app} number is {phone}.",
            "Please write me on {app}, I answer faster there: {phone}",
            "Add me on {app} at {phone} and we'll settle it there.",
            "Could we talk on {app} instead of here? {phone}",
            "I don't read this inbox, contact me on {app} {phone}.",
            "Here's my {app}: {phone}, let us continue there.",
            "Can you message me on {app}? It's easier to talk there, {phone}.",
        ),
        "not_arrived": (
            "The parcel never arrived and I want my money back now.",
            "I never received the {item}, please refund me in full.",
            "It's been {days} days and nothing has arrived, give me a refund.",
            "My order never came, I want a full refund today.",
            "Nothing was delivered to me, so refund the whole order.",
            "The box never arrived at my house, I want the full refund.",
            "I did not receive anything. Refund me or I open a case.",
        ),
    },
    mentions={
        "pay_outside": (
            "I will not pay outside the site, I always use the checkout here.",
            "Is {bank} a payment option at the checkout of the site?",
            "We never ask you to pay outside, the fee is already in the price.",
            "My bank says the money for the order was sent through the site.",
            "Please pay only here on the site, not directly by {bank}.",
            "The site told me not to send money directly, so I paid at the checkout.",
        ),
        "gift_card": (
            "Please do not pay by gift card, our shop never asks for the numbers.",
            "Can I use my store gift card at the checkout?",
            "It's a present, so please put a small gift card with my name in the box.",
            "I got a gift card for my birthday and bought the {item} with it.",
            "The gift card value was taken off at the checkout, thank you.",
            "Do you also sell a gift card? My sister can't decide.",
        ),
        "link": (
            "You can follow the parcel at {official}, no login needed.",
            "I got a link to {link} and did not open it, is that from you?",
            "The return form is on {official}, the label is there too.",
            "Please never enter your card or password on a link from a message.",
            "Here's the link to our size table: {official}",
            "The refund is on its way, you can see it at {official}.",
        ),
        "code": (
            "Never send a verification code to anybody, not even to us.",
            "Which discount code can I use? The code from the flyer is refused.",
            "The door code for the courier is on the label, thank you.",
            "I got a verification code that I did not ask for and deleted it.",
            "The code of the model is on the box, it ends with {percent}.",
            "The locker sent me a code and I picked the parcel up with it.",
        ),
        "messenger": (
            "Please keep all messages here, we do not use {app}.",
            "I saw the {item} on {app} where a friend shared it.",
            "No {app} please, I prefer to write here.",
            "Somebody on {app} said he is from your shop, is that true?",
            "We stay on this inbox, our shop has no {app} account.",
        ),
        "not_arrived": (
            "I thought it never arrived, but my neighbour had it. All good!",
            "It arrived today, so no refund is needed any more.",
            "Has it been delivered yet? I am in no hurry at all.",
            "If it does not arrive by Friday, could you ask the carrier?",
            "The last parcel never arrived on time, but this one was fast.",
            "Everything arrived, I just want to say thank you.",
        ),
    },
)
